#[path = "../build/$name.skel.rs"]
mod skeleton;

use skeleton::{ExecEvent, $type};
use wbpf::{Error, Event, Reader};

fn run() -> Result<(), Error> {
    let this = $type::start()?;
    let event = Event::find("exec")?;
    let mut reader = Reader::open(&this.maps.events.0)?;
    let mut told = 0;
    while wbpf::wait(1000).is_ok() {
        reader.emit::<ExecEvent>(&event)?;
        let lost = this.get_lost()?;
        if lost > told {
            eprintln!("$name: {} events lost", lost - told);
            told = lost;
        }
    }
    Ok(())
}

fn main() {
    if let Err(error) = run() {
        eprintln!("$name: {error}");
        std::process::exit(1);
    }
}
