package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// wholeFile is a file that appears under its name when it is complete, or not at all.
type wholeFile struct {
	*bufio.Writer
	file *os.File
	path string
}

// createWhole begins a file that only this user can read.
func createWhole(path string) (*wholeFile, error) {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.partial")
	if err != nil {
		return nil, err //nolint:wrapcheck // names the file
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
