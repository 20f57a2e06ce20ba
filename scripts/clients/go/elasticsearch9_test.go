package clients

import (
	"context"
	"testing"

	elasticsearch9 "github.com/elastic/go-elasticsearch/v9"
	"github.com/elastic/go-elasticsearch/v9/esapi"
	"github.com/elastic/go-elasticsearch/v9/esutil"
)

func TestGoElasticsearch9(t *testing.T) {
	elasticsearchStories(t, "github.com/elastic/go-elasticsearch/v9", func(t *testing.T, url string, e environment, as login) elasticsearch {
		t.Helper()
		client, err := elasticsearch9.New(
			elasticsearch9.WithAddresses(url), elasticsearch9.WithCACert(e.authority), elasticsearch9.WithBasicAuth(as.username, as.password),
		)
		must(t, err)
		return esapi9{client}
	})
}

// esapi9 are the calls that mirror the REST API.
type esapi9 struct{ es *elasticsearch9.Client }

func (c esapi9) tagline(ctx context.Context) (string, error) {
	var body struct{ Tagline string }
	res, err := c.es.Info(c.es.Info.WithContext(ctx))
	return body.Tagline, c.read(res, err, &body)
}

func (c esapi9) getToken(ctx context.Context, grant map[string]string) (answer tokens, err error) {
	res, err := c.es.Security.GetToken(esutil.NewJSONReader(grant), c.es.Security.GetToken.WithContext(ctx))
	return answer, c.read(res, err, &answer)
}

func (c esapi9) password(ctx context.Context, user login) (tokens, error) {
	return c.getToken(ctx, map[string]string{"grant_type": "password", "username": user.username, "password": user.password})
}

func (c esapi9) refresh(ctx context.Context, refreshToken string) (tokens, error) {
	return c.getToken(ctx, map[string]string{"grant_type": "refresh_token", "refresh_token": refreshToken})
}

func (c esapi9) clientCredentials(ctx context.Context) (tokens, error) {
	return c.getToken(ctx, map[string]string{"grant_type": "client_credentials"})
}

func (c esapi9) invalidate(ctx context.Context, what map[string]string) (int64, error) {
	var body struct {
		Invalidated int64 `json:"invalidated_tokens"`
	}
	res, err := c.es.Security.InvalidateToken(esutil.NewJSONReader(what), c.es.Security.InvalidateToken.WithContext(ctx))
	err = c.read(res, err, &body)
	return body.Invalidated, err
}

func (c esapi9) invalidateAccess(ctx context.Context, token string) (int64, error) {
	return c.invalidate(ctx, map[string]string{"token": token})
}

func (c esapi9) invalidateRefresh(ctx context.Context, token string) (int64, error) {
	return c.invalidate(ctx, map[string]string{"refresh_token": token})
}

func (c esapi9) invalidateUser(ctx context.Context, username string) (int64, error) {
	return c.invalidate(ctx, map[string]string{"username": username})
}

func (c esapi9) username(ctx context.Context, accessToken string) (string, error) {
	var body struct{ Username string }
	authenticate := c.es.Security.Authenticate
	res, err := authenticate(authenticate.WithContext(ctx), authenticate.WithHeader(map[string]string{"Authorization": "Bearer " + accessToken}))
	err = c.read(res, err, &body)
	return body.Username, err
}

func (c esapi9) numberOfNodes(ctx context.Context, accessToken string) (int, error) {
	var body struct {
		Nodes int `json:"number_of_nodes"`
	}
	health := c.es.Cluster.Health
	res, err := health(health.WithContext(ctx), health.WithHeader(map[string]string{"Authorization": "Bearer " + accessToken}))
	err = c.read(res, err, &body)
	return body.Nodes, err
}

func (c esapi9) read(res *esapi.Response, err error, into any) error {
	if err != nil {
		return err
	}
	return read(res.StatusCode, res.Body, into)
}

func (c esapi9) discover(context.Context) ([]string, error) { return discovered(c.es, c.es.Transport) }
