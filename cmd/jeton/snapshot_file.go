package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// standardStream is, in place of a file, standard input or output.
const standardStream = "-"

// streamName is what a person calls that file.
func streamName(path, stream string) string {
	if path == standardStream {
		return stream
	}
	return path
}

// openSnapshot returns a file and its size; that of a stream is not known.
func openSnapshot(path string, stdin io.Reader) (io.ReadCloser, int64, error) {
	if path == standardStream {
		if isTerminal(stdin) {
			return nil, 0, usageErrorf("standard input is a terminal: pipe a snapshot to it, or name a file")
		}
		return io.NopCloser(stdin), 0, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, err //nolint:wrapcheck // names the file
	}
	info, err := file.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a folder: name a file in it", path)
	}
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, info.Size(), nil
}

// mayAppear says, before anybody is asked, why no file can appear under that name.
func (s *saving) mayAppear(path string) error {
	if path == standardStream {
		return nil
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return fmt.Errorf("%s is a folder: name a file in it, such as %s", path, filepath.Join(path, "backup.jeton"))
	}
	if _, err := os.Lstat(path); err == nil && !s.force {
		return fmt.Errorf("%s exists; add --force to replace it", path)
	}
	if strings.HasSuffix(path, string(filepath.Separator)) {
		return fmt.Errorf("there is no folder %s: make it first (mkdir -p %s), and name a file in it, such as %s",
			path, shellQuote(path), filepath.Join(path, "backup.jeton"))
	}
	folder := filepath.Dir(path)
	info, err := os.Stat(folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no folder %s for %s: make it first (mkdir -p %s)", folder, filepath.Base(path), shellQuote(folder))
	case err != nil:
		return err //nolint:wrapcheck // names the folder
	case !info.IsDir():
		return fmt.Errorf("%s is no folder, so %s cannot be in it", folder, filepath.Base(path))
	case unix.Access(folder, unix.W_OK|unix.X_OK) != nil:
		return fmt.Errorf("%s cannot be written by this user, so %s cannot be in it", folder, filepath.Base(path))
	}
	return nil
}

// target is where a snapshot is saved to.
type target interface {
	io.Writer
	commit() (size int64, err error)
	discard()
}

func (s *saving) create(path string) (target, error) {
	if path == standardStream {
		return &streamed{to: s.stdout}, nil
	}
	return createWhole(path)
}

// streamed is standard output: nothing of it can be taken back.
type streamed struct {
	to    io.Writer
	bytes int64
}

// Write implements io.Writer.
func (s *streamed) Write(p []byte) (int, error) {
	n, err := s.to.Write(p)
	s.bytes += int64(n)
	return n, err //nolint:wrapcheck // says what could not be written
}

func (s *streamed) commit() (int64, error) { return s.bytes, nil }

func (*streamed) discard() {}

// wholeFile is a file that appears under its name when it is complete, or not at all.
type wholeFile struct {
	*bufio.Writer
	file *os.File
	path string
}

// createWhole begins a file that only this user can read.
func createWhole(path string) (*wholeFile, error) {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.partial")
	if wrong, ok := errors.AsType[*fs.PathError](err); ok { // of a file that nobody has named
		err = fmt.Errorf("no file can be made in %s: %w", filepath.Dir(path), wrong.Err)
	}
	if err != nil {
		return nil, err
	}
	return &wholeFile{Writer: bufio.NewWriterSize(file, 1<<20), file: file, path: path}, nil
}

// commit gives the file its name, once it is on the disk, and returns its size.
func (f *wholeFile) commit() (int64, error) {
	err := errors.Join(f.Flush(), f.file.Sync())
	info, statErr := f.file.Stat()
	if err = errors.Join(err, statErr, f.file.Close()); err != nil {
		return 0, err
	}
	if err := os.Rename(f.file.Name(), f.path); err != nil {
		return 0, err //nolint:wrapcheck // names the files
	}
	folder, err := os.Open(filepath.Dir(f.path))
	if err != nil {
		return 0, err //nolint:wrapcheck // names the folder
	}
	if err := errors.Join(folder.Sync(), folder.Close()); err != nil {
		return 0, fmt.Errorf("make the name of a new file last: %w", err)
	}
	return info.Size(), nil
}

// discard removes what was not committed.
func (f *wholeFile) discard() {
	_ = f.file.Close()           // closed already, if it was committed
	_ = os.Remove(f.file.Name()) // gone already, if it was committed
}
