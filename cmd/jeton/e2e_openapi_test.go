package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"jeton/httpapi/apitest"
)

const (
	openAPI = "../../docs/openapi.yaml"
	// guest is a user without roles.
	guest         = "guest"
	guestPassword = "another-long-password"
)

// The description of the API is true, and there is nothing else: every answer of a
// cluster fits it, and every status of every operation in it is really answered. Those
// that take an outage or an overload get one.
func TestE2EOpenAPI(t *testing.T) {
	needE2E(t)
	api, err := apitest.Load(openAPI)
	must(t, err)
	c := startDev(t, openAPISettings)
	d := &describedCluster{
		e2eCluster: c, t: t, api: api,
		seen: map[string]map[int]bool{}, good: map[string]apiRequest{}, vars: map[string]string{"$password": c.password},
	}
	for _, prefix := range []string{"/_security", "/_xpack/security"} {
		for _, step := range openAPIStory() {
			d.tell(step, prefix)
		}
	}
	d.elsewhere()
	d.router()
	slow := d.slowBodies()
	d.variations()
	d.busy()
	d.outage(slow)
	d.complete()
}

// apiRequest is a request by a user.
type apiRequest struct {
	method, target string
	header         http.Header
	body           string
}

func (r apiRequest) String() string { return r.method + " " + r.target + " " + r.body }

// path is the target without its query.
func (r apiRequest) path() string {
	path, _, _ := strings.Cut(r.target, "?")
	return path
}

// with is the request with another header; an empty value removes it.
func (r apiRequest) with(name, value string) apiRequest {
	r.header = r.header.Clone()
	if r.header.Set(name, value); value == "" {
		r.header.Del(name)
	}
	return r
}

// sending is the request with another body.
func (r apiRequest) sending(mediaType, body string) apiRequest {
	r.body = body
	return r.with("Content-Type", mediaType)
}

// asking is the request with one more parameter.
func (r apiRequest) asking(query string) apiRequest {
	separator := "?"
	if strings.Contains(r.target, "?") {
		separator = "&"
	}
	r.target += separator + query
	return r
}

// describedCluster is a cluster whose answers are compared with the description.
type describedCluster struct {
	*e2eCluster
	t   *testing.T
	api *apitest.API

	mu   sync.Mutex
	seen map[string]map[int]bool // by operation
	good map[string]apiRequest   // by operation: one that succeeded
	vars map[string]string       // what the story remembers
}

// elsewhere asks a cluster with other settings.
func (d *describedCluster) elsewhere() {
	issuing := d.e2eCluster
	d.e2eCluster = startDev(d.t, "")
	for _, step := range withoutIssuer {
		d.tell(step, "/_security")
	}
	d.e2eCluster = issuing
}

// tell sends one request of the story and remembers what its answer holds. Of those
// paths that are new it asks under the present prefix only.
func (d *describedCluster) tell(step openAPIStep, prefix string) {
	d.t.Helper()
	var pairs []string
	for name, value := range d.vars {
		pairs = append(pairs, name, value)
	}
	fill := strings.NewReplacer(pairs...).Replace
	method, target, _ := strings.Cut(fill(step.request), " ")
	r := apiRequest{method: method, target: target, header: http.Header{}, body: fill(step.body)}
	if rest, ok := strings.CutPrefix(target, "/_security"); ok {
		r.target = prefix + rest
		if _, described := d.api.Find(method, r.path()); !described && r.target != target {
			return
		}
	}
	switch {
	case step.form:
		r.header.Set("Content-Type", "application/x-www-form-urlencoded")
	case r.body != "":
		r.header.Set("Content-Type", "application/json")
	}
	switch step.as {
	case "":
		r.header.Set("Authorization", d.elastic)
	case guest:
		r.header.Set("Authorization", basic(guest, guestPassword))
	case "nobody":
	default:
		r.header.Set("Authorization", fill(step.as))
	}
	for name, value := range step.header {
		r.header.Set(name, fill(value))
	}
	answer := d.send(d.node(len(d.good)), r)
	if answer.status != step.status {
		d.t.Errorf("%s: want %d, got %v", r, step.status, answer)
	}
	d.remember(r, answer)
}

// remember keeps a request that succeeded, and the tokens that it gave.
func (d *describedCluster) remember(r apiRequest, answer e2eAnswer) {
	if answer.status/100 != 2 {
		return
	}
	operation, ok := d.api.Find(r.method, r.path())
	if !ok {
		return // reported when it was sent
	}
	if _, found := d.good[operation.String()]; !found {
		d.good[operation.String()] = r
	}
	if mediaType := r.header.Get("Content-Type"); r.body != "" {
		if err := operation.CheckRequest(mediaType, []byte(r.body)); err != nil {
			d.t.Errorf("%s is accepted, against its description: %v", r, err)
		}
	}
	query, err := url.Parse(r.target)
	must(d.t, err)
	for name := range query.Query() {
		if !slices.Contains(slices.Concat(operation.Query, apitest.Common()), name) {
			d.t.Errorf("%s: the parameter %s is accepted and not described", operation, name)
		}
	}
	var pair e2ePair
	if json.Unmarshal([]byte(answer.body), &pair) == nil && pair.Access != "" {
		d.vars["$access"], d.vars["$refresh"] = pair.Access, pair.Refresh
	}
}

// send sends a request, and checks the answer against the description.
func (d *describedCluster) send(n *e2eNode, r apiRequest) e2eAnswer {
	d.t.Helper()
	answer, err := n.exchange(d.t.Context(), r)
	if err != nil {
		d.t.Errorf("%s: %v", r, err)
		return answer
	}
	d.check(r, answer)
	return answer
}

func (d *describedCluster) check(r apiRequest, answer e2eAnswer) {
	d.t.Helper()
	operation, ok := d.api.Find(r.method, r.path())
	if !ok {
		d.t.Errorf("%s is not described: %v", r, answer)
		return
	}
	if err := operation.CheckAnswer(answer.status, answer.header, []byte(answer.body)); err != nil {
		d.t.Errorf("%s: %d: %v", r, answer.status, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.seen[operation.String()] == nil {
		d.seen[operation.String()] = map[int]bool{}
	}
	d.seen[operation.String()][answer.status] = true
}

// exchange sends a request as it is.
func (n *e2eNode) exchange(ctx context.Context, r apiRequest) (e2eAnswer, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, n.URL+r.target, strings.NewReader(r.body))
	if err != nil {
		return e2eAnswer{}, err
	}
	req.Header = r.header.Clone()
	resp, err := n.client.Do(req)
	if err != nil {
		return e2eAnswer{}, err
	}
	defer resp.Body.Close()
	read, err := io.ReadAll(resp.Body)
	return e2eAnswer{resp.StatusCode, resp.Header, string(read)}, err
}

// router asks for what is not there: other methods of every path, and another path.
func (d *describedCluster) router() {
	allowed := map[string][]string{}
	for _, o := range d.api.Operations {
		allowed[o.Path] = append(allowed[o.Path], o.Method)
	}
	for path, methods := range allowed {
		target := strings.NewReplacer("{", "", "}", "").Replace(path)
		for _, method := range []string{http.MethodOptions, http.MethodPatch} {
			if slices.Contains(methods, method) {
				continue
			}
			answer, err := d.nodes[0].exchange(d.t.Context(), apiRequest{method: method, target: target})
			must(d.t, err)
			if want := strings.Join(methods, ","); answer.header.Get("Allow") != want {
				d.t.Errorf("%s %s: want Allow: %s, got %v", method, path, want, answer)
			}
			if method == http.MethodPatch && answer.status == http.StatusMethodNotAllowed {
				if err := d.api.CheckError("SimpleError", answer.header, []byte(answer.body)); err != nil {
					d.t.Errorf("%s %s: %v", method, path, err)
				}
			} else if method == http.MethodPatch || answer.status != http.StatusOK {
				d.t.Errorf("%s %s: %v", method, path, answer)
			}
		}
	}
	answer, err := d.nodes[0].exchange(d.t.Context(), apiRequest{method: http.MethodGet, target: "/no/such/path"})
	must(d.t, err)
	if err := d.api.CheckError("ElasticError", answer.header, []byte(answer.body)); err != nil || answer.status != http.StatusNotFound {
		d.t.Errorf("no such path: %v: %v", answer, err)
	}
}

// openAPIVariations are what one may do wrong, or otherwise, with any request.
var openAPIVariations = map[string]func(r apiRequest) apiRequest{
	"no credentials": func(r apiRequest) apiRequest { return r.with("Authorization", "") },
	"a wrong password": func(r apiRequest) apiRequest {
		return r.with("Authorization", basic("elastic", "wrong"))
	},
	"nobody's token": func(r apiRequest) apiRequest {
		return r.with("Authorization", bearer(unknownToken("jat_")))
	},
	"no privileges": func(r apiRequest) apiRequest {
		return r.with("Authorization", basic(guest, guestPassword))
	},
	"unknown parameter": func(r apiRequest) apiRequest { return r.asking("no_such_parameter=1") },
	"not decodable":     func(r apiRequest) apiRequest { return r.asking("pretty=%zz") },
	"run as": func(r apiRequest) apiRequest {
		return r.with("Authorization", basic(guest, guestPassword)).with("es-security-runas-user", "elastic")
	},
	"another media type": func(r apiRequest) apiRequest { return r.sending("text/plain", "x") },
	"not an object":      func(r apiRequest) apiRequest { return r.sending("application/json", "[") },
	"an unknown member": func(r apiRequest) apiRequest {
		return r.sending("application/json", `{"nothing":1}`)
	},
	"a large body": func(r apiRequest) apiRequest {
		return r.sending("application/json", `{"x":"`+strings.Repeat("x", 70_000)+`"}`)
	},
	"laid out":       func(r apiRequest) apiRequest { return r.asking("pretty") },
	"YAML":           func(r apiRequest) apiRequest { return r.asking("format=yaml") },
	"with its trace": func(r apiRequest) apiRequest { return r.with("Authorization", "").asking("error_trace") },
	"CBOR":           func(r apiRequest) apiRequest { return r.asking("format=cbor") },
	"version 8": func(r apiRequest) apiRequest {
		return r.with("Accept", vendor+";compatible-with=8")
	},
	"a future version": func(r apiRequest) apiRequest {
		return r.with("Accept", vendor+";compatible-with=99")
	},
	"two media types": func(r apiRequest) apiRequest {
		r = r.with("Accept", "*/*")
		r.header.Add("Accept", "*/*")
		return r
	},
	"a slash at the end": func(r apiRequest) apiRequest {
		path, query, _ := strings.Cut(r.target, "?")
		r.target = strings.TrimSuffix(path, "/") + "/"
		if query != "" {
			r.target += "?" + query
		}
		return r
	},
}

const vendor = "application/vnd.elasticsearch+json"

// variations sends every request that succeeded with each variation.
func (d *describedCluster) variations() {
	for _, operation := range slices.Sorted(maps.Keys(d.good)) {
		var group errgroup.Group
		group.SetLimit(4)
		for _, vary := range openAPIVariations {
			group.Go(func() error {
				r := vary(d.good[operation])
				answer, err := d.node(1).exchange(d.t.Context(), r)
				if err != nil {
					return fmt.Errorf("%s: %w", r, err)
				}
				r.target = d.good[operation].target // as described, without slashes
				d.check(r, answer)
				return nil
			})
		}
		must(d.t, group.Wait())
	}
}

// documented lists the operations that have the status.
func (d *describedCluster) documented(status int) (requests []apiRequest) {
	for i := range d.api.Operations {
		o := &d.api.Operations[i]
		r, ok := d.good[o.String()]
		if slices.Contains(o.Statuses, status) && ok {
			requests = append(requests, r)
		}
	}
	return requests
}

// slowBodies starts to send bodies that never end; wait for the answers before the
// nodes are killed.
func (d *describedCluster) slowBodies() *errgroup.Group {
	var group errgroup.Group
	for i, r := range d.documented(http.StatusRequestTimeout) {
		n := d.node(i)
		group.Go(func() error {
			answer, err := d.sendSlowly(n, r)
			if err != nil {
				return fmt.Errorf("%s, slowly: %w", r, err)
			}
			d.check(r, answer)
			return nil
		})
	}
	return &group
}

func (d *describedCluster) sendSlowly(n *e2eNode, r apiRequest) (answer e2eAnswer, err error) {
	address, err := url.Parse(n.URL)
	if err != nil {
		return answer, err
	}
	transport, _ := n.client.Transport.(*http.Transport)
	config := transport.TLSClientConfig.Clone()
	config.ServerName = address.Hostname()
	connection, err := (&tls.Dialer{Config: config}).DialContext(d.t.Context(), "tcp", address.Host)
	if err != nil {
		return answer, err
	}
	defer connection.Close()
	req, err := http.NewRequestWithContext(d.t.Context(), r.method, n.URL+r.target, http.NoBody)
	if err != nil {
		return answer, err
	}
	fmt.Fprintf(connection, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 10\r\n", r.method, r.target, address.Host)
	header := r.header.Clone()
	if header.Get("Content-Type") == "" {
		header.Set("Content-Type", "application/json")
	}
	if err := errors.Join(header.Write(connection), connection.SetDeadline(time.Now().Add(e2ePatience))); err != nil {
		return answer, err
	}
	fmt.Fprint(connection, "\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(connection), req)
	if err != nil {
		return answer, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return e2eAnswer{resp.StatusCode, resp.Header, string(body)}, err
}

// busy gives one node more passwords to verify than it takes, and then asks it for
// everything with one more.
func (d *describedCluster) busy() {
	n := d.nodes[2]
	var number atomic.Int64
	wrong := func() string { return basic("elastic", fmt.Sprint("wrong-password-", number.Add(1))) }
	ctx, stop := context.WithCancel(d.t.Context())
	var crowd sync.WaitGroup
	for range 64*runtime.NumCPU() + 200 {
		crowd.Go(func() {
			for ctx.Err() == nil {
				_, _ = n.exchange(ctx, apiRequest{
					method: http.MethodGet, target: pathWhoAmI, header: http.Header{"Authorization": {wrong()}},
				})
			}
		})
	}
	var group errgroup.Group
	for _, r := range d.documented(http.StatusTooManyRequests) {
		group.Go(func() error {
			for began := time.Now(); time.Since(began) < e2ePatience; {
				answer, err := n.exchange(ctx, r.with("Authorization", wrong()))
				if err != nil {
					return fmt.Errorf("%s: %w", r, err)
				}
				if d.check(r, answer); answer.status == http.StatusTooManyRequests {
					return nil
				}
			}
			return fmt.Errorf("%s: never 429", r)
		})
	}
	err := group.Wait()
	stop()
	crowd.Wait()
	must(d.t, err)
}

// outage kills a node, when health is no longer green, and another, when nobody can
// know anything.
func (d *describedCluster) outage(slow *errgroup.Group) {
	must(d.t, slow.Wait())
	survivor := d.nodes[0]
	d.nodes[1].kill(d.t)
	until(d.t, "health is yellow", func() error {
		answer := d.send(survivor, apiRequest{
			method: http.MethodGet, target: "/_cluster/health?wait_for_status=green&timeout=1ms",
			header: http.Header{"Authorization": {d.elastic}},
		})
		if answer.status != http.StatusRequestTimeout {
			return errors.New(answer.String())
		}
		return nil
	})
	d.nodes[2].kill(d.t)
	until(d.t, "the survivor says that it is not ready", func() error {
		answer := d.send(survivor, apiRequest{method: http.MethodGet, target: "/readyz"})
		if answer.status != http.StatusServiceUnavailable {
			return errors.New(answer.String())
		}
		return nil
	})
	var group errgroup.Group
	for _, r := range d.documented(http.StatusServiceUnavailable) {
		group.Go(func() error {
			d.send(survivor, r)
			return nil
		})
	}
	must(d.t, group.Wait())
	bringBack(d.t, d.nodes[1], d.nodes[2])
}

// complete reports what is described and was never answered.
func (d *describedCluster) complete() {
	answers := 0
	for i := range d.api.Operations {
		o := &d.api.Operations[i]
		for _, status := range o.Statuses {
			if !d.seen[o.String()][status] {
				d.t.Errorf("%s: %d is described and was never seen", o, status)
			}
			answers++
		}
	}
	d.t.Logf("%d operations, %d answers described, each seen", len(d.api.Operations), answers)
}
