package cli

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
)

// versionCmd prints which program this is.
type versionCmd struct{}

// version is what the program knows of its own making.
type version struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Time     string `json:"time,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// readVersion takes it from what the compiler noted.
func readVersion() version {
	v := version{Version: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		case "vcs.time":
			v.Time = s.Value
		}
	}
	return v
}

// Run prints it.
func (versionCmd) Run(s *session) error {
	v := readVersion()
	return s.print.show(v, func(w io.Writer) {
		fmt.Fprintf(w, "gleitzeit %s (%s, %s)\n", v.Version, v.Go, v.Platform)
	})
}
