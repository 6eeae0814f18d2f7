package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"gleitzeit/cli/server"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// batchCmd asks a model about each file of a folder.
type batchCmd struct {
	Dir         string   `arg:"" help:"The folder with the files."`
	Pattern     given    `default:"*" placeholder:"PATTERN" help:"Which files: * and ?, ** for folders within (default: *)."`
	Prompt      given    `default:"Analyze this file" placeholder:"TEXT" help:"What to ask about each (default: Analyze this file)."`
	Model       given    `placeholder:"MODEL" help:"Which model to ask, instead of the provider's own choice."`
	Vision      bool     `help:"The files are images."`
	Provider    given    `placeholder:"NAME" help:"The provider to ask."`
	Timeout     duration `placeholder:"TIME" help:"How long one file may take: seconds, or 2m and the like."`
	MaxParallel int      `placeholder:"N" help:"How many files at once; else as many as the provider has slots."`
	patience
}

// Help shows how it is used.
func (batchCmd) Help() string {
	return `Makes a workflow of type batch, with a task of llm/chat, or with --vision of llm/vision, for
each file. It is a run like any other: it is listed, its history is told, and after a crash it
can be resumed. A file that fails doesn't hold up the others.

-o md prints a report in Markdown, -o json one for programs, -o text each file and its answer.

Examples:

	gleitzeit batch letters --pattern '*.txt' --prompt 'Summarize this letter' --model llama3.2
	gleitzeit batch photos --pattern '**/*.jpg' --vision --prompt 'What is on it?' -o md > photos.md

Exit codes: as those of gleitzeit run: 3 if any file failed.`
}

// Run does it.
func (b *batchCmd) Run(s *session) error {
	if b.MaxParallel < 0 {
		return usage(fmt.Errorf("--max-parallel: %d must be at least 1", b.MaxParallel))
	}
	method := "llm/chat"
	if b.Vision {
		method = "llm/vision"
	}
	template := map[string]any{"method": method, "prompt": literal(string(b.Prompt))}
	set(template, "model", literal(string(b.Model)))
	set(template, "provider", string(b.Provider))
	set(template, "timeout", time.Duration(b.Timeout).Seconds())
	document := map[string]any{"name": "batch", "type": "batch", "protocol": "llm/v1", "error_strategy": "continue", "template": template,
		"batch": map[string]any{"directory": literal(b.Dir), "pattern": literal(string(b.Pattern))}}
	set(document, "max_parallel", b.MaxParallel)
	report := &batchReport{Parameters: batchParameters{method, string(b.Prompt), string(b.Model), "llm/v1", b.Dir, string(b.Pattern)}}
	return s.runMade(made{name: "batch", document: document, patience: b.patience, begun: report.take,
		show: func(v *replay.RunView) error { return s.showBatch(report, v) }})
}

// batchReport is what became of a batch, in the form that the original had.
type batchReport struct {
	ID         string                 `json:"batch_id"`
	Created    time.Time              `json:"created_at"`
	Mocked     string                 `json:"mocked,omitempty"` // what made up the answers; "": they are real
	Summary    batchSummary           `json:"summary"`
	Parameters batchParameters        `json:"parameters"`
	Results    map[string]batchResult `json:"results"`

	files []string // in the order of the tasks
}

type batchSummary struct {
	Total      int     `json:"total"`
	Successful int     `json:"successful"`
	Failed     int     `json:"failed"`
	Seconds    float64 `json:"processing_time"`
}

type batchParameters struct {
	Method    string `json:"method"`
	Prompt    string `json:"prompt"`
	Model     string `json:"model,omitempty"`
	Protocol  string `json:"protocol"`
	Directory string `json:"directory"`
	Pattern   string `json:"pattern"`
}

// batchResult is a file's answer, or why there is none.
type batchResult struct {
	Status  string `json:"status"` // success, failed, or what else became of its task
	Content string `json:"content,omitempty"`
	Error   string `json:"error,omitempty"`
}

// take notes the files of what is submitted.
func (r *batchReport) take(p *server.SubmitParams) {
	w, err := protocols.Decode(p.Document)
	if err != nil {
		return // then the server will say so
	}
	for _, t := range w.Tasks {
		r.files = append(r.files, t.FileOfBatch())
	}
}

// fill takes in what became of the run.
func (r *batchReport) fill(v *replay.RunView) {
	r.ID, r.Created, r.Mocked, r.Results = v.ID, v.Submitted, v.Mocked, map[string]batchResult{}
	r.Summary = batchSummary{Total: len(r.files), Seconds: float64(v.DurationMS) / 1000}
	for i, t := range v.Tasks[:min(len(v.Tasks), len(r.files))] {
		result := batchResult{Status: string(t.Status)}
		switch {
		case t.Status == replay.TaskIsCompleted:
			result.Status, result.Content = "success", replay.Text(replay.Essence(t.Result))
			r.Summary.Successful++
		case t.Error != nil:
			result.Status, result.Error = "failed", t.Error.Message
			r.Summary.Failed++
		default:
			result.Error = t.Reason
			r.Summary.Failed++
		}
		r.Results[r.files[i]] = result
	}
}

// showBatch prints the report of a batch, and why it failed if it did.
func (s *session) showBatch(r *batchReport, v *replay.RunView) error {
	r.fill(v)
	err := s.print.show(r, func(w io.Writer) {
		if s.print.format == "md" {
			r.markdown(w)
			return
		}
		for _, file := range r.files {
			if result := r.Results[file]; result.Status == "success" {
				writeNamed(w, file, result.Content)
			}
		}
	})
	if v.Status != replay.Completed {
		s.explain(v)
	}
	return err
}

// markdown writes the report for people.
func (r *batchReport) markdown(w io.Writer) {
	fmt.Fprintf(w, "# Batch results: %s\n\n", r.ID)
	fmt.Fprintf(w, "- Date: %s\n- Folder: `%s`, files `%s`\n- Prompt: %s\n", r.Created.Local().Format("2006-01-02 15:04:05"),
		r.Parameters.Directory, r.Parameters.Pattern, strings.Join(strings.Fields(r.Parameters.Prompt), " "))
	if r.Mocked != "" {
		fmt.Fprintf(w, "- Mocked by: %s\n", r.Mocked)
	}
	if r.Parameters.Model != "" {
		fmt.Fprintf(w, "- Model: %s\n", r.Parameters.Model)
	}
	fmt.Fprintf(w, "- Files: %d, of which %d succeeded and %d failed\n- Time: %.1f s\n", r.Summary.Total, r.Summary.Successful, r.Summary.Failed, r.Summary.Seconds)
	for _, file := range r.files {
		result := r.Results[file]
		fmt.Fprintf(w, "\n## %s\n\n", file)
		if result.Status == "success" {
			fmt.Fprintln(w, strings.TrimRight(result.Content, "\n"))
			continue
		}
		fmt.Fprintf(w, "**%s**: %s\n", result.Status, strings.Join(strings.Fields(result.Error), " "))
	}
}
