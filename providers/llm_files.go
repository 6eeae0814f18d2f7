package providers

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"gleitzeit/protocols"
)

// This file puts files into an llm/v1 request: text into the prompt, images
// beside it (language.md, "Files"). A file that can't be read fails the task.

// maxFile is the size up to which a file is read, in bytes.
const maxFile = 64 << 20

// llmImage is an image's bytes; its JSON form is base64, as Ollama has it,
// or a data URL, as OpenAI has it.
type llmImage []byte

// UnmarshalJSON reads base64 with or without "data:image/png;base64,".
func (i *llmImage) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	if rest, is := strings.CutPrefix(text, "data:"); is {
		_, text, _ = strings.Cut(rest, ",")
	}
	text = strings.Join(strings.Fields(text), "")
	image, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil || len(image) == 0 {
		return errors.New("an image is not base64")
	}
	*i = image
	return nil
}

// llmImages is a list of images, or the content of what an MCP server sent
// (mcp_result.go): of that, its images.
type llmImages []llmImage

// UnmarshalJSON takes texts as images and passes over what is none.
func (l *llmImages) UnmarshalJSON(b []byte) error {
	var items []json.RawMessage
	if err := json.Unmarshal(b, &items); err != nil {
		return err
	}
	*l = nil
	for _, item := range items {
		if len(item) > 0 && item[0] == '{' {
			if item = imageIn(item); item == nil {
				continue
			}
		}
		var image llmImage
		if err := json.Unmarshal(item, &image); err != nil {
			return err
		}
		*l = append(*l, image)
	}
	return nil
}

// imageIn is the base64 of an image in a piece of content, nil for none.
func imageIn(item json.RawMessage) json.RawMessage {
	var p struct {
		Type     string          `json:"type"`
		Data     json.RawMessage `json:"data"`
		Resource struct {
			MIMEType string          `json:"mimeType"`
			Blob     json.RawMessage `json:"blob"`
		} `json:"resource"`
	}
	switch err := json.Unmarshal(item, &p); {
	case err != nil:
		return nil
	case p.Type == "image":
		return p.Data
	case p.Type == "resource" && strings.HasPrefix(p.Resource.MIMEType, "image/"):
		return p.Resource.Blob
	}
	return nil
}

// MarshalJSON writes base64.
func (i llmImage) MarshalJSON() ([]byte, error) {
	return json.Marshal(base64.StdEncoding.EncodeToString(i))
}

// dataURL is the form that OpenAI's image_url takes.
func (i llmImage) dataURL() string {
	return "data:" + i.mediaType() + ";base64," + base64.StdEncoding.EncodeToString(i)
}

// mediaType is the type of an image by its first bytes.
func (i llmImage) mediaType() string {
	if kind := http.DetectContentType(i); strings.HasPrefix(kind, "image/") {
		return kind
	}
	return "image/png"
}

// addFiles reads every file that the parameters name, in this order:
// file_path, files, image_path, image_paths.
func (r *llmRequest) addFiles(call Call, p *llmParameters) error {
	for _, name := range append(named(p.FilePath), p.Files...) {
		if err := r.addFile(call, name); err != nil {
			return err
		}
	}
	for _, name := range append(named(p.ImagePath), p.ImagePaths...) {
		image, err := readFile(call, name)
		if err != nil {
			return err
		}
		r.Images = append(r.Images, image)
	}
	return nil
}

func named(name string) []string {
	if name == "" {
		return nil
	}
	return []string{name}
}

func (r *llmRequest) addFile(call Call, name string) error {
	data, err := readFile(call, name)
	if err != nil {
		return err
	}
	if isImage(name) {
		r.Images = append(r.Images, data)
		return nil
	}
	if !utf8.Valid(data) {
		return protocols.Errorf(protocols.TaskParameterError, "file %s is neither UTF-8 text nor an image", name)
	}
	r.addText(name, string(data))
	return nil
}

// addText appends a text file to the last user message, to the prompt, or
// makes it one more text to embed.
func (r *llmRequest) addText(name, text string) {
	text = strings.TrimPrefix(text, "\ufeff")
	switch {
	case r.Method == "llm/embed":
		r.addInput(text)
	case len(r.Messages) > 0:
		m := r.lastUserMessage()
		m.Content = llmText(withFile(string(m.Content), name, text))
	default:
		r.Prompt = withFile(r.Prompt, name, text)
	}
}

// withFile is the form in which the Python original showed a file to a model.
func withFile(prompt, name, text string) string {
	if prompt != "" {
		prompt += "\n\n"
	}
	return prompt + "File content from " + name + ":\n" + text
}

func isImage(name string) bool {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp":
		return true
	}
	return false
}

// readFile returns the bytes of a file that a call names: those captured at
// submission, else those on disk below one of call.Roots, links followed.
// A relative name is looked for in call.Dir and then in each root. Missing
// files, folders and files over 64 MiB are TASK_PARAMETER_ERROR, a file
// outside the roots is AUTHORIZATION_FAILED.
func readFile(call Call, name string) ([]byte, error) {
	if call.File != nil {
		data, captured, err := call.File(name)
		if err != nil {
			return nil, protocols.Errorf(protocols.PersistenceReadFailed, "file %s, kept with the run: %v", name, err)
		}
		if captured {
			return data, nil
		}
	}
	roots := call.Roots
	if call.Dir != "" {
		roots = append([]string{call.Dir}, roots...)
	}
	outside := false
	for _, path := range candidates(name, roots) {
		data, err := readBelow(path, roots)
		switch {
		case err == nil:
			return data, nil
		case errors.Is(err, errOutside):
			outside = true
		case !errors.Is(err, fs.ErrNotExist):
			return nil, protocols.Errorf(protocols.TaskParameterError, "file %s: %v", name, cause(err))
		}
	}
	if outside {
		return nil, protocols.Errorf(protocols.AuthorizationFailed,
			"file %s is outside the folders that may be read; add its folder to roots in the configuration", name)
	}
	return nil, protocols.Errorf(protocols.TaskParameterError, "file %s not found", name)
}

// candidates are the places where a name may mean a file.
func candidates(name string, roots []string) []string {
	if filepath.IsAbs(name) {
		return []string{name}
	}
	var paths []string
	for _, root := range roots {
		paths = append(paths, filepath.Join(root, name))
	}
	return paths
}

var errOutside = errors.New("outside the folders that may be read")

// readBelow reads the file at path if it, and what it is a link to, lies
// below one of the roots.
func readBelow(path string, roots []string) ([]byte, error) {
	if !below(path, roots) {
		return nil, errOutside // before a look at the disk tells what is there
	}
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	for _, root := range roots {
		root, err := filepath.EvalSymlinks(root)
		if err != nil {
			continue
		}
		if rest, err := filepath.Rel(root, path); err == nil && filepath.IsLocal(rest) {
			return readIn(root, rest)
		}
	}
	return nil, errOutside
}

// below tells whether path, as written, lies below one of the roots as they
// are written or as they resolve.
func below(path string, roots []string) bool {
	for _, root := range roots {
		real, err := filepath.EvalSymlinks(root)
		if err != nil {
			continue
		}
		for _, r := range []string{root, real} {
			if rest, err := filepath.Rel(r, path); err == nil && filepath.IsLocal(rest) {
				return true
			}
		}
	}
	return false
}

// readIn reads a regular file; os.Root sees to it that a link put in its way
// meanwhile leads nowhere else.
func readIn(dir, name string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	info, err := root.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if len(data) > maxFile {
		return nil, errors.New("over 64 MiB")
	}
	return data, err
}

// cause strips the path that the system's errors repeat.
func cause(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}
