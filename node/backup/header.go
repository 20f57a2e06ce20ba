package backup

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"jeton/fsm"
)

// Header says what a file holds.
type Header struct {
	ClusterName string      `json:"cluster_name"`
	ClusterID   ID          `json:"cluster_id"`
	KeyCheck    Fingerprint `json:"key_check"`
	Epoch       uint64      `json:"recovery_epoch"`
	Level       uint64      `json:"command_level"`
	Index       uint64      `json:"index"`      // of the newest entry that was applied
	LastWrite   time.Time   `json:"last_write"` // the state's time, which is the cluster's
	SavedAt     time.Time   `json:"saved_at"`   // by the clock of who saved it
	NodeName    string      `json:"node_name"`  // whose state it is
	Version     string      `json:"version"`    // of that node's jeton
	Counts      Counts      `json:"counts"`
}

// Counts tells how much of each kind a file holds.
type Counts struct {
	Users      int `json:"users"`
	Roles      int `json:"roles"`
	Pairs      int `json:"pairs"`      // of an access and a refresh token
	Identities int `json:"identities"` // whose pairs these are
	Operations int `json:"operations"` // whose outcome is remembered
}

// ID is a cluster's identity; as text, 32 hexadecimal digits.
type ID [16]byte

// Fingerprint is that of a cluster key; as text, 64 hexadecimal digits.
type Fingerprint [32]byte

// String implements fmt.Stringer.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText implements encoding.TextMarshaler.
func (id ID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, id[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *ID) UnmarshalText(text []byte) error { return unhex(id[:], text) }

// MarshalText implements encoding.TextMarshaler.
func (f Fingerprint) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, f[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *Fingerprint) UnmarshalText(text []byte) error { return unhex(f[:], text) }

func unhex(to, text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil || len(b) != len(to) {
		return fmt.Errorf("want %d hexadecimal digits", 2*len(to))
	}
	copy(to, b)
	return nil
}

// describe fills in what the state says of itself.
func (h Header) describe(s fsm.Summary) Header {
	h.ClusterID, h.KeyCheck, h.Epoch, h.Level = s.ClusterID, s.KeyCheck, s.Epoch, s.Level
	h.Index, h.LastWrite = s.Applied, time.UnixMilli(int64(s.Now)).UTC()
	h.Counts = Counts{Users: s.Users, Roles: s.Roles, Pairs: s.Pairs, Identities: s.Identities, Operations: s.Operations}
	return h
}

// decodeStrictly refuses what it does not know: a later release says so by its format.
func decodeStrictly(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	if d.More() {
		return errors.New("decode: more than one value")
	}
	return nil
}
