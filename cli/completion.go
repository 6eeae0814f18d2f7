package cli

import "strings"

// completionCmd prints the script that makes a shell complete our words.
type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help shows how it is used.
func (completionCmd) Help() string {
	return `Examples:

	gleitzeit completion bash > ~/.local/share/bash-completion/completions/gleitzeit
	gleitzeit completion zsh > "${fpath[1]}/_gleitzeit"
	gleitzeit completion fish > ~/.config/fish/completions/gleitzeit.fish`
}

// Run does it.
func (c *completionCmd) Run(s *session) error {
	scripts := map[string]string{"bash": bashScript, "zsh": zshScript, "fish": fishScript}
	return s.print.show(scripts[c.Shell], lines(strings.TrimLeft(scripts[c.Shell], "\n")))
}

// The scripts ask `gleitzeit __complete WORD… LAST` for candidates: lines of a
// word, a tab and what it means; a line ":files" stands for the names of files.

const bashScript = `
_gleitzeit() {
    local cur=${COMP_WORDS[COMP_CWORD]} line
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
        :files) compopt -o filenames 2>/dev/null
                while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$cur") ;;
        *) COMPREPLY+=("${line%%$'\t'*}") ;;
        esac
    done < <(gleitzeit __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _gleitzeit gleitzeit
`

const zshScript = `
#compdef gleitzeit
_gleitzeit() {
    local line
    local -a found
    for line in "${(@f)$(gleitzeit __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        case $line in
        :files) _files ;;
        '') ;;
        *) found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}") ;;
        esac
    done
    (( $#found )) && _describe gleitzeit found
}
if [ "$funcstack[1]" = "_gleitzeit" ]; then _gleitzeit "$@"; else compdef _gleitzeit gleitzeit; fi
`

const fishScript = `
function __gleitzeit_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in (gleitzeit __complete $words[2..-1] 2>/dev/null)
        if test "$line" = :files
            __fish_complete_path (commandline -ct)
        else
            echo $line
        end
    end
end
complete -c gleitzeit -f -a '(__gleitzeit_complete)'
`
