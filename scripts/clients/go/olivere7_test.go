package clients

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/olivere/elastic/v7"
)

func TestOlivere7(t *testing.T) {
	elasticsearchStories(t, "github.com/olivere/elastic/v7", func(t *testing.T, url string, e environment, as login) elasticsearch {
		t.Helper()
		if url == e.url {
			url = e.repeatingURL // it repeats nothing by itself
		}
		options := []elastic.ClientOptionFunc{
			elastic.SetURL(url), elastic.SetScheme("https"), elastic.SetHttpClient(e.trusting()),
			elastic.SetBasicAuth(as.username, as.password),
		}
		client, err := elastic.NewSimpleClient(options...)
		must(t, err)
		return olivere7{client, url, options}
	})
}

// olivere7 has no words for tokens; its users say what to send.
type olivere7 struct {
	es      *elastic.Client
	url     string
	options []elastic.ClientOptionFunc
}

func (c olivere7) tagline(ctx context.Context) (string, error) {
	res, _, err := c.es.Ping(c.url).Do(ctx)
	if err != nil {
		return "", err
	}
	return res.TagLine, nil
}

func (c olivere7) ask(ctx context.Context, r elastic.PerformRequestOptions, into any) error {
	r.IgnoreErrors = []int{http.StatusBadRequest, http.StatusUnauthorized} // they have something to say
	res, err := c.es.PerformRequest(ctx, r)
	if err != nil {
		return err
	}
	return read(res.StatusCode, io.NopCloser(bytes.NewReader(res.Body)), into)
}

func (c olivere7) getToken(ctx context.Context, grant map[string]string) (answer tokens, err error) {
	return answer, c.ask(ctx, elastic.PerformRequestOptions{Method: http.MethodPost, Path: "/_security/oauth2/token", Body: grant}, &answer)
}

func (c olivere7) password(ctx context.Context, user login) (tokens, error) {
	return c.getToken(ctx, map[string]string{"grant_type": "password", "username": user.username, "password": user.password})
}

func (c olivere7) refresh(ctx context.Context, refreshToken string) (tokens, error) {
	return c.getToken(ctx, map[string]string{"grant_type": "refresh_token", "refresh_token": refreshToken})
}

func (c olivere7) clientCredentials(ctx context.Context) (tokens, error) {
	return c.getToken(ctx, map[string]string{"grant_type": "client_credentials"})
}

func (c olivere7) invalidate(ctx context.Context, what map[string]string) (int64, error) {
	var body struct {
		Invalidated int64 `json:"invalidated_tokens"`
	}
	err := c.ask(ctx, elastic.PerformRequestOptions{Method: http.MethodDelete, Path: "/_security/oauth2/token", Body: what}, &body)
	return body.Invalidated, err
}

func (c olivere7) invalidateAccess(ctx context.Context, token string) (int64, error) {
	return c.invalidate(ctx, map[string]string{"token": token})
}

func (c olivere7) invalidateRefresh(ctx context.Context, token string) (int64, error) {
	return c.invalidate(ctx, map[string]string{"refresh_token": token})
}

func (c olivere7) invalidateUser(ctx context.Context, username string) (int64, error) {
	return c.invalidate(ctx, map[string]string{"username": username})
}

// asHolder asks with a client that has no credentials but the token.
func (c olivere7) asHolder(ctx context.Context, path, accessToken string, into any) error {
	holder := olivere7{url: c.url}
	var err error
	header := http.Header{"Authorization": {"Bearer " + accessToken}}
	if holder.es, err = elastic.NewSimpleClient(append(c.options[:3:3], elastic.SetHeaders(header))...); err != nil {
		return err
	}
	return holder.ask(ctx, elastic.PerformRequestOptions{Method: http.MethodGet, Path: path}, into)
}

func (c olivere7) username(ctx context.Context, accessToken string) (string, error) {
	var body struct{ Username string }
	err := c.asHolder(ctx, "/_security/_authenticate", accessToken, &body)
	return body.Username, err
}

func (c olivere7) numberOfNodes(ctx context.Context, accessToken string) (int, error) {
	var body struct {
		Nodes int `json:"number_of_nodes"`
	}
	err := c.asHolder(ctx, "/_cluster/health", accessToken, &body)
	return body.Nodes, err
}

// discover makes the usual client, which looks for nodes before anything else.
func (c olivere7) discover(ctx context.Context) (urls []string, err error) {
	sniffing, err := elastic.NewClient(c.options...)
	if err != nil {
		return nil, err
	}
	defer sniffing.Stop()
	for node := range strings.SplitSeq(sniffing.String(), ", ") {
		url, _, _ := strings.Cut(node, " ")
		urls = append(urls, url)
	}
	_, err = sniffing.ClusterHealth().Do(ctx) // at a node, past the balancer
	return urls, err
}
