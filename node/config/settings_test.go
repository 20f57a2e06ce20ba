package config_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"jeton/node/config"
)

func TestSettingsAreUnambiguous(t *testing.T) {
	names, variables := map[string]bool{}, map[string]string{}
	for _, s := range config.Settings() {
		if names[s.Name] {
			t.Errorf("%s stands in the table twice", s.Name)
		}
		if other := variables[s.Env]; other != "" {
			t.Errorf("%s and %s have one environment variable, %s", s.Name, other, s.Env)
		}
		names[s.Name], variables[s.Env] = true, s.Name
	}
	for name := range names {
		for other := range names {
			if strings.HasPrefix(other, name+".") {
				t.Errorf("%s is a value and the beginning of %s", name, other)
			}
		}
	}
}

// What the reference gives as the default, when set, changes nothing.
func TestDefaultsCanBeWritten(t *testing.T) {
	notValues := regexp.MustCompile(`\.\w+_?\w*$| `) // a reference to another setting, or prose
	want := load(t, complete, nil, nil)
	for _, s := range config.Settings() {
		if s.Default == "" || s.Name == "discovery.type" || s.Kind != "duration" && notValues.MatchString(s.Default) {
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			got := load(t, complete, nil, map[string]string{s.Name: s.Default})
			got.DataPath, got.Token.KeyPath, got.Transport.TLS = want.DataPath, want.Token.KeyPath, want.Transport.TLS
			if diff := cmp.Diff(want, got, compareSecrets); diff != "" {
				t.Errorf("%s: %s\n%s", s.Name, s.Default, diff)
			}
		})
	}
}

// SETTINGS.md is written from the table: go test ./node/config -update.
func TestReferencePageIsCurrent(t *testing.T) {
	var page strings.Builder
	page.WriteString("# Settings\n\n" +
		"Written from the program's own table by `go test ./node/config -update`; how files, environment\n" +
		"variables and flags work together stands in the package's documentation.\n\n" +
		"| setting | kind | default | meaning |\n|---|---|---|---|\n")
	cell := func(text string) string {
		if text == "" {
			return ""
		}
		return "`" + strings.ReplaceAll(text, "|", `\|`) + "`"
	}
	for _, s := range config.Settings() {
		kind := strings.ReplaceAll(s.Kind, "|", " or ")
		if s.Range != "" {
			kind += ", " + s.Range
		}
		fmt.Fprintf(&page, "| `%s` | %s | %s | %s |\n", s.Name, kind, cell(s.Default), s.Doc)
	}
	if *update {
		if err := os.WriteFile("SETTINGS.md", []byte(page.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	written, err := os.ReadFile("SETTINGS.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(written), page.String()); diff != "" {
		t.Error(diff)
	}
}
