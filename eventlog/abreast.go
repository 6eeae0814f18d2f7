package eventlog

import "golang.org/x/sync/errgroup"

// abreastAtMost is how many questions a store is asked at once.
const abreastAtMost = 16

// abreast does something for each number below n, several at a time: a store in
// another process answers many questions in little more time than one.
func abreast(n int, do func(i int) error) error {
	var g errgroup.Group
	g.SetLimit(abreastAtMost)
	for i := range n {
		g.Go(func() error { return do(i) })
	}
	return g.Wait()
}
