package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// shellPlain are the characters that no POSIX shell interprets anywhere in a word.
const shellPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:,@%+"

// shellQuote returns word as a POSIX shell reads it back unchanged: as it is
// if nothing in it is special, else in single quotes.
func shellQuote(word string) string {
	if word != "" && strings.Trim(word, shellPlain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// shellCommand joins words into a command that can be pasted.
func shellCommand(words ...string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = shellQuote(word)
	}
	return strings.Join(quoted, " ")
}

// byGoRun says that a binary was made by `go run`, which removes it at the end.
func byGoRun(binary string) bool {
	return strings.Contains(binary, string(filepath.Separator)+"go-build")
}

// thisProgram returns the words that start this program again, from any folder and
// also when this process, and a `go run` that started it, have ended.
func thisProgram() []string {
	binary, err := os.Executable()
	if err == nil && !byGoRun(binary) {
		return []string{binary}
	}
	if _, source, _, ok := runtime.Caller(0); ok && filepath.IsAbs(source) {
		return []string{"go", "-C", filepath.Dir(source), "run", "."}
	}
	return []string{"go", "run", "./cmd/jeton"} // built with -trimpath
}

// comeback is the command that starts a dev cluster which was kept.
func comeback(dir devDir, state *devState) string {
	words := append(thisProgram(), "dev", "--data", string(dir))
	if state.Settings != "" {
		words = append(words, "--settings", state.Settings)
	}
	return shellCommand(words...)
}
