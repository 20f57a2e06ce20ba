package certs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

const (
	folderMode fs.FileMode = 0o700
	secretMode fs.FileMode = 0o600
	publicMode fs.FileMode = 0o644 // of certificates: whoever connects is shown them, and clients need the authorities'

	maxFileBytes = 1 << 20 // a bundle of a few hundred certificates; refuses a device or a log given by mistake
)

// ReadPrivate reads a file that holds a private key in PEM. It refuses one that others
// could read or change: more than 0600, or more than 0640 if root owns it and this
// process is not root (a group may be needed then; PostgreSQL has the same rule,
// and secrets mounted by Kubernetes satisfy it).
func ReadPrivate(path string) ([]byte, error) {
	return ReadSecret(path, "private key", func(content []byte) bool { return bytes.Contains(content, []byte("PRIVATE KEY-----")) })
}

// ReadSecret reads a file of which holdsOne tells whether it holds a secret of that kind,
// and is as strict as [ReadPrivate]. Nobody is told to change the permissions of a file
// that holds none: it was named by mistake, and others may need it as it is.
func ReadSecret(path, what string, holdsOne func(content []byte) bool) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err //nolint:wrapcheck // a *PathError already says what was attempted
	}
	defer file.Close()
	info, err := file.Stat() // of the open file: the name may mean another one by now
	if err != nil {
		return nil, err //nolint:wrapcheck // a *PathError already says what was attempted
	}
	if info.IsDir() {
		return nil, fmt.Errorf("%s is a folder, not the file of a %s", path, what)
	}
	content, err := readLimited(file, path)
	if err != nil {
		return nil, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	rootsOwn := ok && stat.Uid == 0
	allowed := allowedMode(rootsOwn, os.Geteuid() == 0)
	switch {
	case info.Mode().Perm()&^allowed == 0:
		return content, nil
	case !holdsOne(content):
		return nil, fmt.Errorf("%s holds no %s", path, what)
	default:
		return nil, fmt.Errorf("%s: others may read or change this %s (mode %04o); run: chmod %o %s",
			path, what, info.Mode().Perm(), allowed, path)
	}
}

// allowedMode is the most that a secret's permissions may be.
func allowedMode(rootsOwn, weAreRoot bool) fs.FileMode {
	if rootsOwn && !weAreRoot {
		return secretMode | 0o040
	}
	return secretMode
}

func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err //nolint:wrapcheck // a *PathError already says what was attempted
	}
	defer file.Close()
	return readLimited(file, path)
}

func readLimited(file io.Reader, path string) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(file, maxFileBytes+1))
	if err != nil {
		return nil, err //nolint:wrapcheck // a *PathError already says what was attempted
	}
	if len(content) > maxFileBytes {
		return nil, fmt.Errorf("%s: larger than %d bytes", path, maxFileBytes)
	}
	return content, nil
}

// writeFile writes a file that is either there whole or not at all, also after a
// power loss. It replaces an existing file only if it is told to.
func writeFile(path string, content []byte, mode fs.FileMode, replace bool) error {
	if !replace {
		if err := refuseExisting(path); err != nil {
			return err
		}
	}
	folder := filepath.Dir(path)
	temp, err := os.CreateTemp(folder, ".new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = temp.Write(content)
	err = errors.Join(err, temp.Chmod(mode), temp.Sync(), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(temp.Name()) // what failed is known; this is tidying up
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncFolder(folder)
}

// refuseExisting protects keys: one that is lost cannot be made again.
func refuseExisting(paths ...string) error {
	var problems []error
	for _, path := range paths {
		switch _, err := os.Lstat(path); {
		case err == nil:
			problems = append(problems, fmt.Errorf("%s: %w; nothing was written", path, fs.ErrExist))
		case !errors.Is(err, fs.ErrNotExist):
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err //nolint:wrapcheck // a *PathError already says what was attempted
	}
	return errors.Join(folder.Sync(), folder.Close())
}
