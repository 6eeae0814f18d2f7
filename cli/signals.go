package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// stopSignals are those that ask us to leave.
var stopSignals = []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}

// signals returns the requests to leave, from now until stop is called.
func signals() (wishes <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 4)
	signal.Notify(c, stopSignals...)
	return c, func() { signal.Stop(c) }
}

// interruptible is a context that ends at the first request to leave; the
// second one ends the process at once.
func interruptible() (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	wishes, stop := signals()
	go func() {
		select {
		case <-wishes:
			stop()
			cancel()
		case <-ctx.Done():
			stop()
		}
	}()
	return ctx, cancel
}
