package main

import (
	"context"
	"fmt"
	"net"
	"strings"
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
	return warnings
}
