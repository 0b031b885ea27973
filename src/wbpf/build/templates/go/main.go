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
	for {
		if _, err := wbpf.Wait(-1); err != nil {
			break // the end
		}
		if _, err := wbpf.Emit[ExecEvent](reader, event); err != nil {
			return err
		}
	}
	lost, err := self.GetLost()
	if lost > 0 {
		fmt.Fprintf(os.Stderr, "$name: %d events lost\n", lost)
	}
	return err
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "$name:", err)
		os.Exit(1)
	}
}
