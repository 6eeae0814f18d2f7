package protocols

import (
	"fmt"
	"strings"
	"testing"
)

func benchFlow(tasks int) []byte {
	var b strings.Builder
	b.WriteString("name: bench\ntasks:\n- {name: t0, method: echo/echo, params: {x: 1}}\n")
	for i := 1; i < tasks; i++ {
		fmt.Fprintf(&b, "- name: t%d\n  method: llm/chat\n  params:\n    model: m\n    messages:\n    - {role: user, content: \"say ${t%d.x} again\"}\n", i, i-1)
	}
	return []byte(b.String())
}

func BenchmarkCompile(b *testing.B) {
	for _, n := range []int{5, 1000} {
		data := benchFlow(n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				d, _ := Parse("f.yaml", data)
				if w, ps := registry.Compile(d); w == nil {
					b.Fatal(ps)
				}
			}
		})
	}
}

func BenchmarkSubstitute(b *testing.B) {
	d, _ := Parse("f.yaml", benchFlow(3))
	w, _ := registry.Compile(d)
	for i, name := range []string{"literal", "reference"} {
		s := &Scope{Workflow: w, Tasks: map[int]TaskValue{0: completed(`{"a":[1,2,3],"x":"hello"}`)}}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Substitute(w, i, s, registry); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSubstituteBigResult(b *testing.B) {
	d, _ := Parse("f.yaml", benchFlow(3))
	w, _ := registry.Compile(d)
	result := `{"pad":"` + strings.Repeat("x", 4<<20) + `","x":"hello"}`
	s := &Scope{Workflow: w, Tasks: map[int]TaskValue{0: completed(result)}}
	b.SetBytes(int64(len(result)))
	for b.Loop() {
		if _, err := Substitute(w, 1, s, registry); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCheckParameters(b *testing.B) {
	params := raw(`{"model":"m","messages":[{"role":"user","content":"say hello again"}],"temperature":0.5}`)
	b.ReportAllocs()
	for b.Loop() {
		if err := registry.CheckParameters("llm/chat", params); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNewRegistry(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		NewRegistry()
	}
}
