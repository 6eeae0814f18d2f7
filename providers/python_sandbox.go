package providers

import (
	"fmt"
	"path/filepath"
	"strings"
)

// This file puts a call of Python into its sandbox, and tells people about it.

// restrict decides what the job may do. Its temporary files go into the
// scratch folder, the only one that it may always write.
func (p *python) restrict(job *pythonJob, params pythonParameters, scratch string) error {
	job.env = temporary(scratch)
	c := p.config.Sandbox
	box, err := c.allow(job.call.Dir, scratch, p.roots, params.Write, params.Network)
	if err == nil {
		err = params.Limits.tighten(&box.Limits)
	}
	if err != nil || !c.enabled() {
		return err
	}
	box.Read = append(box.Read, job.request.Folder)
	job.box = box
	if _, lacking := sandboxState(); len(lacking) > 0 {
		p.warned.Do(func() {
			job.host.Progress(Progress{Stream: "stderr", Message: "sandbox: this system can't enforce: " + strings.Join(lacking, "; ")})
		})
	}
	return nil
}

// advice says what to try when the sandbox is why the system refused
// something, else nothing. A nil sandbox refuses nothing.
func (s *sandbox) advice(errno, path string) string {
	if s == nil {
		return ""
	}
	l := s.Limits
	if path != "" {
		path = resolved(filepath.Clean(path))
	}
	switch {
	case errno == "ENOMEM" && l.Memory > 0:
		return fmt.Sprintf(": the sandbox's `memory` is %s", sizeText(l.Memory))
	case errno == "EFBIG" && l.FileSize > 0:
		return fmt.Sprintf(": the sandbox's `file_size` is %s", sizeText(l.FileSize))
	case errno != "EACCES" && errno != "EPERM" && errno != "EXDEV":
		return ""
	case path == "" && errno == "EACCES" && !s.Network:
		return ": the sandbox has no network; `network: true` gives one"
	case path == "":
		return ": the sandbox may have refused it"
	case below(path, s.Write):
		return ""
	case below(path, s.Read):
		return ": the sandbox lets it only be read; name its folder in `write`"
	}
	return ": it lies outside of the sandbox; name its folder in `write`, or in `read` of the provider's sandbox"
}

// overCPU tells whether the limit of computing time ended the run.
func (r *pythonRun) overCPU(box *sandbox) bool {
	return box != nil && strings.Contains(r.exit, "SIGXCPU")
}
