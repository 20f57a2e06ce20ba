package build

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"jeton/scripts/lab/clock"
)

// Clock is the clocks of one machine; see package clock.
type Clock = clock.Clock

// OpenClock opens, or makes, a file of clocks: for a process whose environment names it
// in [clock.Variable].
func OpenClock(path string) (*Clock, error) { return clock.Open(path) }

// clocks replace the one file each in which the node reads a clock.
//
//go:embed clocks
var clocks embed.FS

// replaced are those files.
var replaced = map[string]string{
	"node/boottime_linux.go": "clocks/boottime.go.txt",
	"node/walltime.go":       "clocks/walltime.go.txt",
}

// Options are how a binary differs from the product's beside its clocks.
type Options struct {
	Planted string // the name of a defect; empty: none
	Race    bool   // with the race detector
}

// Jeton builds the program and writes it to out. The go command must be there, and the
// working folder within the module; git must be there for a defect. Its errors say what
// the go command said.
func Jeton(ctx context.Context, out string, o Options) error {
	out, err := filepath.Abs(out)
	if err != nil {
		return fmt.Errorf("build jeton: %w", err)
	}
	arguments := []string{"-o", out}
	if o.Race {
		arguments = append(arguments, "-race")
	}
	return goBuild(ctx, o.Planted, append(arguments, "./cmd/jeton")...)
}

// goBuild runs go build with the clocks and, unless the name is empty, a defect.
func goBuild(ctx context.Context, planted string, arguments ...string) (err error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "jeton-overlay-")
	if err != nil {
		return fmt.Errorf("make an overlay: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	overlay, err := laboratoryClocks(folder)
	if err != nil {
		return err
	}
	if planted != "" {
		defective, err := plant(ctx, root, folder, planted)
		if err != nil {
			return err
		}
		maps.Copy(overlay, defective)
	}
	file, err := writeOverlay(root, folder, overlay)
	if err != nil {
		return err
	}
	if _, err := output(ctx, root, "go", append([]string{"build", "-overlay", file}, arguments...)...); err != nil {
		return fmt.Errorf("build %s: %w", describe(planted), err)
	}
	return nil
}

func describe(planted string) string {
	if planted == "" {
		return "jeton with the laboratory's clocks"
	}
	return "jeton with the planted defect " + planted
}

// laboratoryClocks writes the files with the laboratory's clocks and returns what they
// stand for: path in the module -> file.
func laboratoryClocks(folder string) (map[string]string, error) {
	overlay := make(map[string]string, len(replaced))
	for path, embedded := range replaced {
		source, err := clocks.ReadFile(embedded)
		if err != nil {
			return nil, fmt.Errorf("read the laboratory's clocks: %w", err)
		}
		file := filepath.Join(folder, strings.TrimSuffix(filepath.Base(embedded), ".txt"))
		if err := os.WriteFile(file, source, 0o600); err != nil {
			return nil, fmt.Errorf("write the laboratory's clocks: %w", err)
		}
		overlay[path] = file
	}
	return overlay, nil
}

// writeOverlay writes the file that go build -overlay reads.
func writeOverlay(root, folder string, overlay map[string]string) (path string, err error) {
	absolute := make(map[string]string, len(overlay))
	for path, file := range overlay {
		absolute[filepath.Join(root, path)] = file
	}
	encoded, err := json.Marshal(map[string]any{"Replace": absolute})
	if err != nil {
		return "", fmt.Errorf("encode the overlay: %w", err)
	}
	path = filepath.Join(folder, "overlay.json")
	if err := os.WriteFile(path, encoded, 0o600); err != nil {
		return "", fmt.Errorf("write the overlay: %w", err)
	}
	return path, nil
}

// moduleRoot returns the folder of the product's sources.
func moduleRoot(ctx context.Context) (string, error) {
	file, err := output(ctx, "", "go", "env", "GOMOD")
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	root := filepath.Dir(file)
	if _, err := os.Stat(filepath.Join(root, "cmd", "jeton")); err != nil {
		return "", fmt.Errorf("find the module: start in its folder: %w", err)
	}
	return root, nil
}

// output runs a program and returns what it printed; its errors have what it complained of.
func output(ctx context.Context, folder, program string, arguments ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, arguments...) //nolint:gosec // the go command and git
	cmd.Dir = folder
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", program, arguments[0], err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(stdout.String()), nil
}
