package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const maxFileBytes = 1 << 20 // a configuration is a page or two; this refuses a device or a log given by mistake

// Load reads one node's configuration: the file at path (none if it is empty), the
// environment (as [os.Environ] gives it) and the settings given as flags, by name. A
// flag wins over the environment, that over the file, that over the default. The
// error, if any, holds all problems of all sources, those of [Config.Validate]
// included; those of the file come first, by line. If the sources could be read at
// all, the Config is returned beside the error, to look for further problems: what
// could not be taken over has its default.
func Load(path string, environ []string, overrides map[string]string) (*Config, error) {
	settings := table()
	sources := newReader(settings, environ)
	working, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("find the working directory: %w", err)
	}
	values := map[string]given{}
	if path != "" {
		if values, err = readFile(sources, path); err != nil {
			return nil, err
		}
	}
	maps.Copy(values, sources.env(working))
	maps.Copy(values, sources.flags(overrides, working))

	c := Default()
	for _, s := range settings {
		if value, ok := values[s.Name]; ok {
			if err := s.set(c, value); err != nil {
				sources.fail(value.origin, s.Name, err)
			}
		}
	}
	if err := c.complete(); err != nil {
		return nil, err
	}
	for _, problem := range c.problems() {
		if !sources.failed[problem.setting] { // else what is wrong has been said
			sources.problems = append(sources.problems, problem)
		}
	}
	return c, errors.Join(byLine(sources.problems, path)...)
}

// byLine puts what begins with a line of the file before what does not, in the
// order of the lines.
func byLine(problems []error, path string) []error {
	line := func(problem error) int {
		if after, ok := strings.CutPrefix(problem.Error(), path+":"); ok && path != "" {
			digits, _, _ := strings.Cut(after, ":")
			if number, err := strconv.Atoi(digits); err == nil {
				return number
			}
		}
		return math.MaxInt
	}
	return slices.SortedStableFunc(slices.Values(problems), func(a, b error) int { return cmp.Compare(line(a), line(b)) })
}

func readFile(sources *reader, path string) (map[string]given, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find the folder of %s: %w", path, err)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	if len(content) > maxFileBytes {
		return nil, fmt.Errorf("read the configuration: %s is larger than %d bytes", path, maxFileBytes)
	}
	return sources.file(content, path, filepath.Dir(absolute))
}

// complete fills in what depends on the machine or on other settings.
func (c *Config) complete() error {
	if c.NodeName == "" {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("node.name: find the machine's host name: %w", err)
		}
		c.NodeName = name
	}
	for i, seed := range c.Discovery.SeedHosts {
		if host, port, err := parseSeed(seed, c.Transport.Port); err == nil {
			c.Discovery.SeedHosts[i] = net.JoinHostPort(host, strconv.Itoa(port))
		}
	}
	return nil
}
