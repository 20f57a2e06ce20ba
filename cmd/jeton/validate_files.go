package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"jeton/fsm"
	"jeton/node"
	"jeton/node/certs"
	"jeton/node/config"
	"jeton/node/realm"
)

// expiryWarning is how long before its end a certificate is worth a warning.
const expiryWarning = 30 * day

// fileCheck looks at the files that a configuration names as `jeton server` would,
// and collects what that would refuse, or mention. What is not set is a problem of
// the configuration, and is passed over.
type fileCheck struct {
	problems []error
	warnings []string
}

func checkFiles(c *config.Config) *fileCheck {
	check := &fileCheck{}
	check.context("xpack.security.transport.ssl.", c.Transport.TLS.Files, func(files certs.Files) (*certs.Reloader, error) {
		if len(files.CertificateAuthorities) == 0 {
			return nil, nil //nolint:nilnil // not set
		}
		return certs.NewTransport(files, certs.Identity{Cluster: c.ClusterName, Node: c.NodeName}, time.Now)
	})
	if c.HTTP.TLS.Enabled {
		check.context("xpack.security.http.ssl.", c.HTTP.TLS.Files, func(files certs.Files) (*certs.Reloader, error) {
			return certs.NewHTTP(files, time.Now)
		})
	}
	if c.Token.KeyPath != "" {
		_, err := certs.LoadClusterKey(c.Token.KeyPath)
		check.add("xpack.security.authc.token.key_path", err)
	}
	if c.FileRealm.Enabled {
		check.fileRealm(c.FileRealm)
	}
	check.add("path.data", cmp.Or(node.CheckOwner(c.DataPath), writableFolder(c.DataPath)))
	check.add("path.logs", writableFolder(c.LogsPath))
	return check
}

func (f *fileCheck) add(setting string, err error) {
	if err != nil {
		f.problems = append(f.problems, fmt.Errorf("%s: %w", setting, err))
	}
}

// context checks the files of one SSL context: each for itself, and if all can be
// read, whether they belong together.
func (f *fileCheck) context(prefix string, files certs.Files, open func(certs.Files) (*certs.Reloader, error)) {
	before := len(f.problems)
	if files.Key != "" {
		_, err := certs.ReadPrivate(files.Key)
		f.add(prefix+"key", err)
	}
	if files.Certificate != "" {
		f.add(prefix+"certificate", readableFile(files.Certificate))
	}
	for _, authority := range files.CertificateAuthorities {
		f.add(prefix+"certificate_authorities", readableFile(authority))
	}
	if len(f.problems) > before || files.Key == "" || files.Certificate == "" {
		return
	}
	opened, err := open(files)
	f.add(prefix+"certificate", err)
	if opened != nil {
		f.warnings = append(f.warnings, opened.Warnings(expiryWarning)...)
	}
}

// fileRealm reads the users as the node would. A file that does not exist holds
// nobody, which is allowed, and rarely meant.
func (f *fileCheck) fileRealm(files config.FileRealm) {
	const prefix = "xpack.security.authc.realms.file.files."
	for _, file := range [][2]string{{"users", files.Users}, {"users_roles", files.UsersRoles}} {
		if _, err := os.Stat(file[1]); file[1] != "" && errors.Is(err, fs.ErrNotExist) {
			f.warnings = append(f.warnings, fmt.Sprintf("%s%s: there is no file %s, so it holds nobody", prefix, file[0], file[1]))
		}
	}
	hasher, err := realm.NewHasher(config.Default().PasswordHashing)
	if err == nil {
		_, err = realm.NewChain(realm.ChainConfig{
			View: fsm.New(nil), Hasher: hasher, Now: time.Now, UsersFile: files.Users, UsersRolesFile: files.UsersRoles,
		})
	}
	f.add(prefix+"*", err)
}

func readableFile(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err //nolint:wrapcheck // names the file
	}
	defer func() { _ = file.Close() }() // only opened
	if info, err := file.Stat(); err == nil && info.IsDir() {
		return fmt.Errorf("%s is a folder", path)
	}
	return nil
}

// writableFolder says why a folder cannot be made, or written if it exists. It
// changes nothing.
func writableFolder(path string) error {
	for folder := path; path != ""; folder = filepath.Dir(folder) {
		info, err := os.Stat(folder)
		switch {
		case errors.Is(err, fs.ErrNotExist) && folder != filepath.Dir(folder):
			continue // it would be made; what counts is where
		case err != nil:
			return err //nolint:wrapcheck // names the folder
		case !info.IsDir():
			return fmt.Errorf("%s is not a folder", folder)
		case unix.Access(folder, unix.W_OK|unix.X_OK) != nil:
			return fmt.Errorf("%s cannot be written by this user", folder)
		}
		return nil
	}
	return nil
}
