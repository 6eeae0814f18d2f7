package scheduler

import "context"

// This file ties what a call changes to the call: its name goes into the log in
// the same batch. So whoever has the log next can tell whether a call that comes
// again was carried out (replay.CallKey).

type called struct{}

// Called returns a context for the one command of a call with that name; "" is
// of none. A command that changes nothing leaves no trace of it.
func Called(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, called{}, name)
}

// CallOf is the name of the call that a context is for.
func CallOf(ctx context.Context) string {
	name, _ := ctx.Value(called{}).(string)
	return name
}
