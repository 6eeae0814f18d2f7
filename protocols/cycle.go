package protocols

import (
	"cmp"
	"slices"
)

// cyclesOf returns one cycle of each knot of tasks that wait for each other,
// as indexes: each waits for the next, the last for the first. The first is
// the one that comes first in the file.
func cyclesOf(tasks []*Task) [][]int {
	k := &knots{tasks: tasks, order: make([]int, len(tasks)), low: make([]int, len(tasks)), knot: make([]int, len(tasks))}
	for i := range tasks {
		if k.order[i] == 0 {
			k.follow(i)
		}
	}
	var cycles [][]int
	seen := map[int]bool{}
	for i, t := range tasks {
		if !seen[k.knot[i]] && (k.size[k.knot[i]] > 1 || slices.Contains(t.Dependencies, i)) {
			seen[k.knot[i]] = true
			cycles = append(cycles, k.cycle(i))
		}
	}
	slices.SortFunc(cycles, func(a, b []int) int { return cmp.Compare(a[0], b[0]) })
	return cycles
}

// knots finds the strongly connected parts of the graph (Tarjan's algorithm,
// on a stack of its own: a chain of tasks may be long).
type knots struct {
	tasks []*Task
	order []int // in which tasks were met, from 1
	low   []int // the least order that a task reaches
	knot  []int // from 1, once known
	size  map[int]int
	met   int
	stack []int
}

func (k *knots) follow(start int) {
	if k.size == nil {
		k.size = map[int]int{}
	}
	type frame struct{ task, next int }
	path := []frame{{task: start}}
	k.meet(start)
	for len(path) > 0 {
		f := &path[len(path)-1]
		deps := k.tasks[f.task].Dependencies
		if f.next < len(deps) {
			to := deps[f.next]
			f.next++
			if k.order[to] == 0 {
				k.meet(to)
				path = append(path, frame{task: to})
			} else if k.knot[to] == 0 {
				k.low[f.task] = min(k.low[f.task], k.order[to])
			}
			continue
		}
		if k.low[f.task] == k.order[f.task] {
			k.close(f.task)
		}
		if path = path[:len(path)-1]; len(path) > 0 {
			parent := path[len(path)-1].task
			k.low[parent] = min(k.low[parent], k.low[f.task])
		}
	}
}

func (k *knots) meet(task int) {
	k.met++
	k.order[task], k.low[task] = k.met, k.met
	k.stack = append(k.stack, task)
}

// close makes a knot of everything on the stack from task on.
func (k *knots) close(task int) {
	id := len(k.size) + 1
	for {
		top := k.stack[len(k.stack)-1]
		k.stack = k.stack[:len(k.stack)-1]
		k.knot[top] = id
		k.size[id]++
		if top == task {
			return
		}
	}
}

// cycle returns the shortest cycle through start, which is in a knot.
func (k *knots) cycle(start int) []int {
	from := map[int]int{}
	for queue := []int{start}; ; queue = queue[1:] {
		at := queue[0]
		for _, to := range k.tasks[at].Dependencies {
			if to == start {
				cycle := []int{at}
				for at != start {
					at = from[at]
					cycle = append(cycle, at)
				}
				slices.Reverse(cycle)
				return cycle
			}
			if _, met := from[to]; !met && k.knot[to] == k.knot[start] {
				from[to] = at
				queue = append(queue, to)
			}
		}
	}
}
