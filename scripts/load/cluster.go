package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
)

// cluster is a running Jeton cluster, one target a node.
type cluster []target

const (
	// theCluster begins the names of the variables that `jeton dev` writes to dev.env.
	theCluster = "JETON_"
	// quorumCluster is the same for a second cluster, whose read.mode is quorum.
	quorumCluster = "JETON_QUORUM_"
)

// clusterFromEnvironment reads what `jeton dev` writes to dev.env.
func clusterFromEnvironment(prefix string) (cluster, error) {
	nodesFile, caFile := os.Getenv(prefix+"NODES"), os.Getenv(prefix+"CACERT")
	if nodesFile == "" || caFile == "" {
		return nil, fmt.Errorf("%[1]sNODES and %[1]sCACERT are not set: source and export the dev.env of a running `jeton dev`", prefix)
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("read CA: %w", err)
	}
	settings, err := clientTLS(pem)
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(nodesFile)
	if err != nil {
		return nil, fmt.Errorf("read nodes: %w", err)
	}
	var entries []struct {
		URL string
		Log string
		PID int
	}
	if err := json.Unmarshal(content, &entries); err != nil {
		return nil, fmt.Errorf("read %s: %w", nodesFile, err)
	}
	var nodes cluster
	var pids []int
	for _, entry := range entries {
		nodes = append(nodes, target{
			url: entry.URL, log: entry.Log, tls: settings,
			username: os.Getenv(prefix + "USER"), password: os.Getenv(prefix + "PASSWORD"),
		})
		pids = append(pids, entry.PID)
	}
	for i := range nodes {
		nodes[i].servers = pids
	}
	if len(nodes) == 0 {
		return nil, fmt.Errorf("%s names no nodes", nodesFile)
	}
	return nodes, nil
}

// pick returns the node that leads, one that follows, or the one with the given URL.
func (c cluster) pick(which string) (target, error) {
	if which != "leader" && which != "follower" {
		for _, t := range c {
			if t.url == which {
				return t, nil
			}
		}
		return target{}, fmt.Errorf("no node has the URL %q", which)
	}
	leader, follower, err := c.roles()
	if which == "leader" {
		return leader, err
	}
	return follower, err
}

// roles tells who leads now, and the first of those who follow.
func (c cluster) roles() (leader, follower target, err error) {
	var leaders, followers []target
	for _, t := range c {
		leads, err := t.leads()
		switch {
		case err != nil:
			return target{}, target{}, err
		case leads:
			leaders = append(leaders, t)
		default:
			followers = append(followers, t)
		}
	}
	if len(leaders) != 1 || len(followers) == 0 {
		return target{}, target{}, fmt.Errorf("%d nodes lead and %d follow", len(leaders), len(followers))
	}
	return leaders[0], followers[0], nil
}

// leads tells from the node's log whether it leads: the API does not say, as no
// client has to know. The last change of role that raft logged is the present one.
func (t target) leads() (bool, error) {
	content, err := os.ReadFile(t.log)
	if err != nil {
		return false, fmt.Errorf("read the node's log: %w", err)
	}
	last := func(role string) int { return bytes.LastIndex(content, []byte("entering "+role+" state")) }
	return last("leader") > max(last("follower"), last("candidate")), nil
}

// answerBytes is the size of _authenticate's answer to a token.
func (t target) answerBytes(ctx context.Context) (int, error) {
	conns, err := dialAll(ctx, t.url, t.tls, 1)
	if err != nil {
		return 0, err
	}
	defer closeAll(conns)
	answer, err := t.ask(conns[0], t.request(http.MethodGet, authenticatePath, basic(t.username, t.password), nil))
	return len(answer), err
}
