package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"jeton/node/certs"
)

const (
	// maxDevNodes bounds --nodes: more voters than nine only slow a cluster down.
	maxDevNodes = 9
	maxPort     = 65535
	// loopback is where a dev cluster listens, and nowhere else: its
	// credentials lie in a file and on a terminal.
	loopback = "127.0.0.1"
)

// devNode is one node of a dev cluster as it is planned: where it listens and
// which part of the cluster's folder is its own.
type devNode struct {
	Name          string `json:"name"`
	HTTPPort      int    `json:"http_port"`
	TransportPort int    `json:"transport_port"`
}

// planNodes lays out count nodes on consecutive ports. A first port of 0 means
// "any free port": those of its kind stay 0 until chooseFreePorts.
func planNodes(count, httpPort, transportPort int) ([]devNode, error) {
	if count < 1 || count > maxDevNodes {
		return nil, usageErrorf("--nodes %d: want 1 to %d", count, maxDevNodes)
	}
	for _, flag := range []struct {
		name  string
		first int
	}{{"--http-port", httpPort}, {"--transport-port", transportPort}} {
		if flag.first < 0 || flag.first+count-1 > maxPort {
			return nil, usageErrorf("%s %d: %d nodes need ports from 1 to %d", flag.name, flag.first, count, maxPort)
		}
	}
	if httpPort != 0 && transportPort != 0 && httpPort < transportPort+count && transportPort < httpPort+count {
		return nil, usageErrorf("--http-port %d and --transport-port %d: the ports of %d nodes overlap",
			httpPort, transportPort, count)
	}
	nodes := make([]devNode, count)
	for i := range nodes {
		nodes[i] = devNode{
			Name:          nodeName(i),
			HTTPPort:      nthPort(httpPort, i),
			TransportPort: nthPort(transportPort, i),
		}
	}
	return nodes, nil
}

func nodeName(i int) string { return fmt.Sprintf("node-%d", i+1) }

func nthPort(first, i int) int {
	if first == 0 {
		return 0
	}
	return first + i
}

// URL is where clients reach the node.
func (n devNode) URL() string { return "https://" + hostPort(n.HTTPPort) }

func hostPort(port int) string { return net.JoinHostPort(loopback, strconv.Itoa(port)) }

// devDir is the folder of a dev cluster; its methods name what lies in it.
type devDir string

func (d devDir) file(name string) string { return filepath.Join(string(d), name) }

func (d devDir) lock() string     { return d.file("dev.lock") }
func (d devDir) state() string    { return d.file("dev.json") }
func (d devDir) env() string      { return d.file("dev.env") }
func (d devDir) socket() string   { return d.file("dev.sock") }
func (d devDir) nodes() string    { return d.file("nodes.json") }
func (d devDir) password() string { return d.file("password") }

// certs is where the certificates and the cluster key lie.
func (d devDir) certs() certs.Folder { return certs.Folder{Path: d.file("certs"), Now: time.Now} }

func (d devDir) node(name string) string       { return d.file(name) }
func (d devDir) nodeConfig(name string) string { return filepath.Join(d.node(name), "jeton.yml") }
func (d devDir) nodeData(name string) string   { return filepath.Join(d.node(name), "data") }
func (d devDir) nodeLog(name string) string    { return filepath.Join(d.node(name), "node.log") }

// chooseFreePorts gives every port that is still 0 a free one, and checks that
// the others are free. All are held until the last is known, so that no two
// nodes get the same.
func chooseFreePorts(ctx context.Context, nodes []devNode) error {
	var held []net.Listener
	defer func() {
		for _, l := range held {
			_ = l.Close() // it never accepted anything
		}
	}()
	for i := range nodes {
		node := &nodes[i]
		for _, port := range []struct {
			number     *int
			kind, flag string
		}{
			{&node.HTTPPort, "HTTP", "--http-port"},
			{&node.TransportPort, "transport", "--transport-port"},
		} {
			listen := listenOn
			if *port.number == 0 {
				listen = listenAnywhere
			}
			l, err := listen(ctx, port.number)
			if err != nil {
				return fmt.Errorf("port %d (%s of %s) is not free: choose others with %s, or end what listens there: %w",
					*port.number, port.kind, node.Name, port.flag, err)
			}
			held = append(held, l)
		}
	}
	return nil
}

func listenOn(ctx context.Context, port *int) (net.Listener, error) {
	return new(net.ListenConfig).Listen(ctx, "tcp", hostPort(*port)) //nolint:wrapcheck // the caller says what for
}

// Ports that are free for a node are looked for below those that the system
// gives to outgoing connections (32768 and above on Linux, 49152 elsewhere):
// one of these could be taken before the node listens.
const (
	firstFreePort, lastFreePort = 15000, 32767
	freePortTries               = 100
)

// listenAnywhere listens on a free port and stores its number.
func listenAnywhere(ctx context.Context, port *int) (l net.Listener, err error) {
	for range freePortTries {
		*port = firstFreePort + rand.IntN(lastFreePort-firstFreePort+1) //nolint:gosec // no secret
		if l, err = listenOn(ctx, port); err == nil {
			return l, nil
		}
	}
	return nil, err
}
