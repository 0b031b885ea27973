package main

import (
	"fmt"
	"os"
	"unsafe"

	"wbpf"
)

var event wbpf.Event

func tell(name string, value uint64) {
	result := Result{Value: value}
	copy(result.Name[:], name)
	must(wbpf.EmitOne(event, &result))
}

func truth(is bool) uint64 {
	if is {
		return 1
	}
	return 0
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "cases:", err)
		os.Exit(1)
	}
}

func value[T any](value T, err error) T {
	must(err)
	return value
}

func main() {
	event = value(wbpf.FindEvent("case"))
	cases := value(OpenCases())
	program := cases.Programs.OnRun
	must(program.Autoload(true))
	must(cases.SetStep(7))
	must(cases.Load())
	must(cases.Attach())
	tell("constant", value(cases.GetStart()))
	tell("unload_is_refused", truth(cases.SetStart(1) != nil))
	reader := value(wbpf.NewReader(cases.Maps.Events.RawMap))
	window := value(wbpf.NewWindow(cases.Maps.PlacedEvents.RawMap))

	tell("set_before_load", uint64(value(program.Run(nil)).Result))
	must(cases.SetStep(1 << 40))
	tell("set_after_load", value(cases.GetStep()))
	value(program.Run(nil))
	value(program.Run(nil))
	tell("counted", value(cases.GetCounted()))

	numbers := cases.Maps.Numbers
	tell("lookup", value(numbers.Get(3)))
	_, err := numbers.Get(99)
	tell("missing", truth(wbpf.NotFound(err)))
	must(numbers.Set(2, 12345))
	tell("updated", value(numbers.Get(2)))
	var sum uint64
	must(numbers.Keys(func(key uint32) bool { sum += uint64(key); return true }))
	tell("keys", sum)
	must(numbers.Delete(2))
	_, err = numbers.Get(2)
	tell("deleted", truth(wbpf.NotFound(err)))

	sum = 0
	for _, each := range value(cases.Maps.PerCpu.Get(0)) {
		sum += uint64(each)
	}
	tell("per_cpu", sum)

	record := value(cases.Maps.Records.Get(0))
	tell("record_bytes", uint64(unsafe.Sizeof(record)))
	tell("record_pointer", record.Pointer)
	tell("record_after_padding", uint64(record.Number))
	tell("record_text", truth(record.Last == 41)*uint64(len(wbpf.Text(record.Text[:]))))
	records := uint64(0)
	for bytes := value(reader.Next()); bytes != nil; bytes = value(reader.Next()) {
		records += truth(*wbpf.Record[uint64](bytes) != 0)
	}
	tell("records", records)
	tell("parameter", uint64(wbpf.ParamInt("delay")))

	var placed, numbersInPlace uint64
	for round := 0; round <= 20; round++ {
		for bytes := window.Next(); bytes != nil; bytes = window.Next() {
			record := wbpf.Record[Placed](bytes)
			placed++
			numbersInPlace += record.Number + record.Again
		}
		window.Release()
		if round < 20 {
			value(program.Run(nil))
		}
	}
	tell("in_place", placed)
	tell("in_place_numbers", numbersInPlace)
	tell("in_place_left", truth(window.Next() != nil))
	for bytes := value(reader.Next()); bytes != nil; bytes = value(reader.Next()) {
	}
	talk()
}

func connect(name string) wbpf.Socket {
	address, _ := wbpf.Param(name)
	return value(wbpf.Connect(address, 1000))
}

// What the test's servers get and send.
func talk() {
	buffer := make([]byte, 64)
	datagrams := connect("datagrams")
	tell("datagram_sent", uint64(value(datagrams.Send([]byte("datagram"), 1000))))
	_, err := datagrams.Receive(buffer, 0)
	tell("nothing_came", truth(wbpf.TimedOut(err)))
	path := connect("path")
	tell("path_sent", uint64(value(path.Send([]byte("path"), 1000))))
	must(path.Close())
	stream := connect("stream")
	value(stream.Send([]byte("ping"), 1000))
	must(stream.Watch(true))
	tell("stream_is_told", uint64(value(wbpf.Wait(5000))))
	tell("stream_received", uint64(value(stream.Receive(buffer, 1000))))
	tell("stream_ended", truth(value(stream.Receive(buffer, 1000)) == 0))
	_, err = wbpf.Connect("tcp:localhost:1", 1000)
	tell("not_granted", truth(wbpf.NotPermitted(err)))
}
