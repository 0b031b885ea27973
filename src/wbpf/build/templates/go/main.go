package main

import (
	"fmt"
	"os"

	"wbpf"
)

func run() error {
	self, err := Start$type()
	if err != nil {
		return err
	}
	event, err := wbpf.FindEvent("exec")
	if err != nil {
		return err
	}
	reader, err := wbpf.NewReader(self.Maps.Events.RawMap)
	if err != nil {
		return err
	}
	var told uint64
	for {
		if _, err := wbpf.Wait(1000); err != nil {
			return nil // the end
		}
		if _, err := wbpf.Emit[ExecEvent](reader, event); err != nil {
			return err
		}
		if lost, err := self.GetLost(); err == nil && lost > told {
			fmt.Fprintf(os.Stderr, "$name: %d events lost\n", lost-told)
			told = lost
		}
	}
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "$name:", err)
		os.Exit(1)
	}
}
