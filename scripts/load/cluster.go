package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"
)

// cluster is a running Jeton cluster, one target a node.
type cluster []target

// clusterFromEnvironment reads what `jeton dev` writes to dev.env.
func clusterFromEnvironment() (cluster, error) {
	urls, caFile := os.Getenv("JETON_URLS"), os.Getenv("JETON_CACERT")
	if urls == "" || caFile == "" {
		return nil, errors.New("JETON_URLS and JETON_CACERT are not set: source the dev.env of a running `jeton dev`")
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("read CA: %w", err)
	}
	settings, err := clientTLS(pem)
	if err != nil {
		return nil, err
	}
	var nodes cluster
	for address := range strings.SplitSeq(urls, ",") {
		nodes = append(nodes, target{
			url: address, tls: settings,
			username: os.Getenv("JETON_USER"), password: os.Getenv("JETON_PASSWORD"),
		})
	}
	return nodes, nil
}

// pick returns the node that leads, one that follows, or the one with the given URL.
func (c cluster) pick(ctx context.Context, which string) (target, error) {
	if which != "leader" && which != "follower" {
		for _, t := range c {
			if t.url == which {
				return t, nil
			}
		}
		return target{}, fmt.Errorf("no node has the URL %q", which)
	}
	leader, follower, err := c.roles(ctx)
	if which == "leader" {
		return leader, err
	}
	return follower, err
}

// roles tells who leads now, and the first of those who follow.
func (c cluster) roles(ctx context.Context) (leader, follower target, err error) {
	var leaders, followers []target
	for _, t := range c {
		leads, err := t.leads(ctx)
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

func (t target) leads(ctx context.Context) (bool, error) {
	conns, err := dialAll(ctx, t.url, t.tls, 1)
	if err != nil {
		return false, err
	}
	defer closeAll(conns)
	if err := conns[0].raw.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return false, fmt.Errorf("set deadline: %w", err)
	}
	answer, err := t.ask(conns[0], t.request(http.MethodGet, "/readyz", "", nil))
	if err != nil {
		return false, fmt.Errorf("%s/readyz: %w", t.url, err)
	}
	return strings.Contains(string(answer), `"leader":true`), nil
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
