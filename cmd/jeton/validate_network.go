package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"jeton/node/config"
)

// resolvePatience is how long the hosts of a node may take to resolve, all together.
const resolvePatience = 5 * time.Second

// unresolved names the hosts of this node that its machine cannot resolve: it could not
// listen there, and others would not find it if it is the same with them.
func unresolved(ctx context.Context, c *config.Config, lookup func(ctx context.Context, host string) ([]string, error)) (warnings []string) {
	ctx, cancel := context.WithTimeout(ctx, resolvePatience)
	defer cancel()
	settings := map[string][]string{} // by host
	var hosts []string
	for _, named := range [][2]string{
		{"http.host", c.HTTP.Host},
		{"http.publish_host", c.HTTP.PublishHost},
		{"transport.host", c.Transport.Host},
		{"transport.publish_host", c.Transport.PublishHost},
	} {
		setting, host := named[0], named[1]
		if host == "" || net.ParseIP(host) != nil {
			continue
		}
		if settings[host] == nil {
			hosts = append(hosts, host)
		}
		settings[host] = append(settings[host], setting)
	}
	for _, host := range hosts {
		if _, err := lookup(ctx, host); err != nil {
			warnings = append(warnings, fmt.Sprintf("%s: [%s] does not resolve on this machine (%v); name an address or a host that this machine and the other nodes know "+
				"(network.host and network.publish_host are for clients and nodes alike)", strings.Join(settings[host], ", "), host, err))
		}
	}
	for _, seed := range c.Discovery.SeedHosts {
		host, _, err := net.SplitHostPort(seed)
		if err != nil || net.ParseIP(host) != nil || settings[host] != nil {
			continue
		}
		settings[host] = []string{"discovery.seed_hosts"}
		if _, err := lookup(ctx, host); err != nil {
			warnings = append(warnings, fmt.Sprintf("discovery.seed_hosts: [%s] does not resolve on this machine (%v); "+
				"no cluster is started before all hosts of the list have answered", host, err))
		}
	}
	return warnings
}

// strange names the hosts at which this node could not listen here: they are addresses of
// another machine. To listen takes a moment, at a port of the system's choice.
func strange(ctx context.Context, c *config.Config, listen func(ctx context.Context, host string) error) (warnings []string) {
	ctx, cancel := context.WithTimeout(ctx, resolvePatience)
	defer cancel()
	hosts := []string{c.HTTP.Host, c.Transport.Host}
	settings := []string{"http.host", "transport.host"}
	if hosts[0] == hosts[1] {
		hosts, settings = hosts[:1], []string{"http.host, transport.host"}
	}
	for i, host := range hosts {
		if errors.Is(listen(ctx, host), syscall.EADDRNOTAVAIL) {
			warnings = append(warnings, fmt.Sprintf("%s: [%s] is no address of this machine, and a node cannot listen there; "+
				"set it (or network.host) to one, and the address by which others reach it as the publish_host", settings[i], host))
		}
	}
	return warnings
}

func listenBriefly(ctx context.Context, host string) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return fmt.Errorf("listen at %s: %w", host, err)
	}
	_ = listener.Close() // nobody has come
	return nil
}
