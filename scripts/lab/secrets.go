package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// keyBytes is how much of a pattern is looked up at each place; no secret is shorter.
const keyBytes = 8

// searcher finds many texts in one pass.
type searcher struct {
	patterns map[uint64][]pattern
}

type pattern struct {
	text  []byte
	shape string // what it is a shape of
}

func newSearcher() *searcher { return &searcher{patterns: map[uint64][]pattern{}} }

// add adds a secret in all shapes in which it could have been written.
func (s *searcher) add(secret, what string) {
	for _, shape := range shapes(secret) {
		if len(shape) >= keyBytes {
			key := binary.LittleEndian.Uint64(shape)
			s.patterns[key] = append(s.patterns[key], pattern{shape, what})
		}
	}
}

// find returns what is in the content.
func (s *searcher) find(content []byte) (found []string) {
	for at := 0; at+keyBytes <= len(content); at++ {
		for _, p := range s.patterns[binary.LittleEndian.Uint64(content[at:])] {
			if bytes.HasPrefix(content[at:], p.text) {
				found = append(found, fmt.Sprintf("%s at byte %d", p.shape, at))
			}
		}
	}
	return found
}

// shapes are the ways in which a secret could have been written: as it is, in hexadecimal, in base64 wherever it lies
// within what was encoded, and of a token its random part.
func shapes(secret string) [][]byte {
	all := [][]byte{[]byte(secret), []byte(hex.EncodeToString([]byte(secret)))}
	for offset := range 3 {
		encoded := base64.StdEncoding.EncodeToString([]byte("???"[:offset] + secret))
		whole := encoded[4*((offset+2)/3) : len(encoded)-4]
		all = append(all, []byte(whole), []byte(strings.NewReplacer("+", "-", "/", "_").Replace(whole)))
	}
	if kind, rest, ok := strings.Cut(secret, "_"); ok && len(kind) == 3 {
		if payload, err := base64.RawURLEncoding.DecodeString(rest); err == nil && len(payload) == 36 {
			all = append(all, payload[:32], []byte(hex.EncodeToString(payload[:32])))
		}
	}
	return all
}

// searchSecrets looks for secrets in every log and in every file of every disk, and tells how many were looked for
// where.
func (c *cluster) searchSecrets(secrets []string) (files int, err error) {
	s := newSearcher()
	for i, secret := range secrets {
		s.add(secret, fmt.Sprintf("secret %d of %d (%s...)", i+1, len(secrets), secret[:min(4, len(secret))]))
	}
	key, err := os.ReadFile(filepath.Join(c.certificates(), "cluster.key"))
	if err != nil {
		return 0, err //nolint:wrapcheck // names the file
	}
	s.add(strings.TrimSpace(string(key)), "the cluster key")
	if raw, err := hex.DecodeString(strings.TrimSpace(string(key))); err == nil {
		s.add(string(raw), "the cluster key")
	}
	look := func(node, name string, content []byte) {
		files++
		for _, what := range s.find(content) {
			c.journal.violate("%s of %s holds %s", name, node, what)
		}
	}
	for _, n := range c.machines() {
		log, err := os.ReadFile(n.logFile())
		if err != nil {
			return files, err //nolint:wrapcheck // names the file
		}
		look(n.name, "the log", log)
		for _, file := range n.disk.Files() {
			content, err := n.disk.Read(file.Path)
			if err != nil {
				return files, err
			}
			look(n.name, file.Path, content)
		}
	}
	return files, nil
}
