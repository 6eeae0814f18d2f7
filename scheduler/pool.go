package scheduler

// pool lets so many functions run at once and keeps the others waiting, oldest
// first. Only the loop uses it.
type pool struct {
	most    int
	start   func(func())
	running int
	waiting []func()
}

// add lets f run, now or later. Whoever adds it says done once it has ended.
func (p *pool) add(f func()) {
	if p.running == p.most {
		p.waiting = append(p.waiting, f)
		return
	}
	p.running++
	p.start(f)
}

// done lets the next one run.
func (p *pool) done() {
	p.running--
	if len(p.waiting) == 0 {
		return
	}
	f := p.waiting[0]
	p.waiting[0] = nil // what it holds may be large
	p.waiting = p.waiting[1:]
	p.add(f)
}

// len is how many run or wait.
func (p *pool) len() int { return p.running + len(p.waiting) }
