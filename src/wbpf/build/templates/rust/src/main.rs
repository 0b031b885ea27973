#[path = "../build/$name.skel.rs"]
mod skeleton;

use skeleton::{ExecEvent, $type};
use wbpf::{Error, Event, Reader};

fn run() -> Result<(), Error> {
    let this = $type::start()?;
    let event = Event::find("exec")?;
    let mut reader = Reader::open(&this.maps.events.0)?;
    while wbpf::wait(-1).is_ok() {
        reader.emit::<ExecEvent>(&event)?;
    }
    match this.lost()? {
        0 => {}
        lost => eprintln!("$name: {lost} events lost"),
    }
    Ok(())
}

fn main() {
    if let Err(error) = run() {
        eprintln!("$name: {error}");
        std::process::exit(1);
    }
}
