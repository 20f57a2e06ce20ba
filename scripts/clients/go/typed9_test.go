package clients

import (
	"context"
	"errors"
	"strings"
	"testing"

	elasticsearch9 "github.com/elastic/go-elasticsearch/v9"
	"github.com/elastic/go-elasticsearch/v9/typedapi/security/gettoken"
	"github.com/elastic/go-elasticsearch/v9/typedapi/security/invalidatetoken"
	"github.com/elastic/go-elasticsearch/v9/typedapi/types"
	"github.com/elastic/go-elasticsearch/v9/typedapi/types/enums/accesstokengranttype"
)

func TestGoElasticsearch9Typed(t *testing.T) {
	elasticsearchStories(t, "github.com/elastic/go-elasticsearch/v9", func(t *testing.T, url string, e environment, as login) elasticsearch {
		t.Helper()
		client, err := elasticsearch9.NewTyped(
			elasticsearch9.WithAddresses(url), elasticsearch9.WithCACert(e.authority), elasticsearch9.WithBasicAuth(as.username, as.password),
		)
		must(t, err)
		return typed9{client}
	})
}

// typed9 are the calls with types for requests and answers.
type typed9 struct{ es *elasticsearch9.TypedClient }

func (c typed9) tagline(ctx context.Context) (string, error) {
	res, err := c.es.Info().Do(ctx)
	if err != nil {
		return "", c.refusal(err)
	}
	return res.Tagline, nil
}

func (c typed9) password(ctx context.Context, user login) (tokens, error) {
	return c.tokens(c.es.Security.GetToken().
		GrantType(accesstokengranttype.Password).Username(user.username).Password(user.password).Do(ctx))
}

func (c typed9) refresh(ctx context.Context, refreshToken string) (tokens, error) {
	return c.tokens(c.es.Security.GetToken().GrantType(accesstokengranttype.Refreshtoken).RefreshToken(refreshToken).Do(ctx))
}

func (c typed9) clientCredentials(ctx context.Context) (tokens, error) {
	return c.tokens(c.es.Security.GetToken().GrantType(accesstokengranttype.Clientcredentials).Do(ctx))
}

func (c typed9) tokens(res *gettoken.Response, err error) (tokens, error) {
	if err != nil {
		return tokens{}, c.refusal(err)
	}
	answer := tokens{AccessToken: res.AccessToken, Type: res.Type, ExpiresIn: res.ExpiresIn}
	if res.RefreshToken != nil {
		answer.RefreshToken = *res.RefreshToken
	}
	return answer, nil
}

func (c typed9) invalidateAccess(ctx context.Context, token string) (int64, error) {
	return c.invalidated(c.es.Security.InvalidateToken().Token(token).Do(ctx))
}

func (c typed9) invalidateRefresh(ctx context.Context, token string) (int64, error) {
	return c.invalidated(c.es.Security.InvalidateToken().RefreshToken(token).Do(ctx))
}

func (c typed9) invalidateUser(ctx context.Context, username string) (int64, error) {
	return c.invalidated(c.es.Security.InvalidateToken().Username(username).Do(ctx))
}

func (c typed9) invalidated(res *invalidatetoken.Response, err error) (int64, error) {
	if err != nil {
		return 0, c.refusal(err)
	}
	return res.InvalidatedTokens, nil
}

func (c typed9) username(ctx context.Context, accessToken string) (string, error) {
	res, err := c.es.Security.Authenticate().Header("Authorization", "Bearer "+accessToken).Do(ctx)
	if err != nil {
		return "", c.refusal(err)
	}
	return res.Username, nil
}

func (c typed9) numberOfNodes(ctx context.Context, accessToken string) (int, error) {
	res, err := c.es.Cluster.Health().Header("Authorization", "Bearer "+accessToken).Do(ctx)
	if err != nil {
		return 0, c.refusal(err)
	}
	return res.NumberOfNodes, nil
}

func (c typed9) discover(context.Context) ([]string, error) { return discovered(c.es, c.es.Transport) }

// refusal finds the server's error. RFC 6749's code is where Elasticsearch has its
// reason, and in quotes.
func (typed9) refusal(err error) error {
	said, ok := errors.AsType[*types.ElasticsearchError](err)
	if !ok {
		return err
	}
	if said.ErrorCause.Type == "" && said.ErrorCause.Reason != nil {
		return &refusal{said.Status, strings.Trim(*said.ErrorCause.Reason, `"`)}
	}
	return &refusal{said.Status, said.ErrorCause.Type}
}
