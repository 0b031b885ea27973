#[path = "../build/cases.skel.rs"]
mod skeleton;

use skeleton::{Cases, Placed, Record, Result as Case};
use wbpf::{Error, Event, Reader, Slot, Socket, Window};

fn tell(event: &Event, name: &str, value: u64) -> Result<(), Error> {
    let mut case = Case { value, name: [0; 24] };
    case.name[..name.len()].copy_from_slice(name.as_bytes());
    event.emit(&[case]).map(drop)
}

fn run() -> Result<(), Error> {
    let event = Event::find("case")?;
    let cases = Cases::open()?;
    let program = &cases.programs.on_run;
    program.autoload(true)?;
    cases.set_step(&7)?;
    cases.load()?;
    cases.attach()?;
    tell(&event, "constant", cases.get_start()?)?;
    tell(&event, "unload_is_refused", cases.set_start(&1).is_err() as u64)?;
    let mut reader = Reader::open(&cases.maps.events.0)?;
    let mut window = Window::open(&cases.maps.placed_events.0)?;

    tell(&event, "set_before_load", program.run(&mut [])?.result as u64)?;
    cases.set_step(&(1 << 40))?;
    tell(&event, "set_after_load", cases.get_step()?)?;
    program.run(&mut [])?;
    program.run(&mut [])?;
    tell(&event, "counted", cases.get_counted()?)?;

    let numbers = &cases.maps.numbers;
    tell(&event, "lookup", numbers.get(&3)?.unwrap_or(0))?;
    tell(&event, "missing", numbers.get(&99)?.is_none() as u64)?;
    numbers.set(&2, &12345)?;
    tell(&event, "updated", numbers.get(&2)?.unwrap_or(0))?;
    tell(&event, "keys", numbers.keys().map(u64::from).sum())?;
    numbers.remove(&2)?;
    tell(&event, "deleted", numbers.get(&2)?.is_none() as u64)?;

    let mut slots = vec![Slot(0u32); cases.maps.per_cpu.cpus()?];
    cases.maps.per_cpu.get(&0, &mut slots)?;
    tell(&event, "per_cpu", slots.iter().map(|slot| slot.0 as u64).sum())?;

    let record: Record = cases.maps.records.get(&0)?.ok_or(Error::NOT_FOUND)?;
    tell(&event, "record_bytes", core::mem::size_of::<Record>() as u64)?;
    tell(&event, "record_pointer", record.pointer)?;
    tell(&event, "record_after_padding", record.number as u64)?;
    let length = record.text.iter().take_while(|letter| **letter != 0).count();
    tell(&event, "record_text", if record.last == 41 { length as u64 } else { 0 })?;
    let mut records = 0;
    while reader.next::<u64>()?.is_some() {
        records += 1;
    }
    tell(&event, "records", records)?;
    tell(&event, "parameter", wbpf::param_number("delay").unwrap_or(0))?;

    let (mut placed, mut numbers) = (0, 0);
    for round in 0..21 {
        while let Some(record) = window.next::<Placed>() {
            placed += 1;
            numbers += record.number + record.again;
        }
        window.release();
        if round < 20 {
            program.run(&mut [])?;
        }
    }
    tell(&event, "in_place", placed)?;
    tell(&event, "in_place_numbers", numbers)?;
    tell(&event, "in_place_left", window.next_record().is_some() as u64)?;
    while reader.next_record()?.is_some() {}
    talk(&event)
}

/// What the test's servers get and send.
fn talk(event: &Event) -> Result<(), Error> {
    let (mut text, mut buffer) = ([0; 256], [0; 64]);
    let mut connect = |name| Socket::connect(wbpf::param(name, &mut text).unwrap_or(""), 1000);
    let datagrams = connect("datagrams")?;
    tell(event, "datagram_sent", datagrams.send(b"datagram", 1000)? as u64)?;
    let nothing = datagrams.receive(&mut buffer, 0) == Err(Error::AGAIN);
    tell(event, "nothing_came", nothing as u64)?;
    let path = connect("path")?;
    tell(event, "path_sent", path.send(b"path", 1000)? as u64)?;
    path.close()?;
    let stream = connect("stream")?;
    stream.send(b"ping", 1000)?;
    stream.watch(true)?;
    tell(event, "stream_is_told", wbpf::wait(5000)? as u64)?;
    tell(event, "stream_received", stream.receive(&mut buffer, 1000)? as u64)?;
    tell(event, "stream_ended", (stream.receive(&mut buffer, 1000)? == 0) as u64)?;
    let refused = Socket::connect("tcp:localhost:1", 1000).err() == Some(Error::NOT_PERMITTED);
    tell(event, "not_granted", refused as u64)
}

fn main() {
    if let Err(error) = run() {
        eprintln!("cases: {error}");
        std::process::exit(1);
    }
}
