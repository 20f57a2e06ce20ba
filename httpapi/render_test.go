package httpapi_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"jeton/fsm"
	"jeton/httpapi"
	"jeton/node/token"
)

// Whatever a name, a text or a metadata object holds, the answer is JSON that says
// just that, laid out or not.
func TestRenderingIsFaithful(t *testing.T) {
	var who fsm.Identity
	h := handlerOf(t, config(&world{authenticate: func(bool, token.Credentials) (token.Caller, error) {
		return token.Caller{Identity: &who, Type: token.AuthenticationToken}, nil
	}}))
	rapid.Check(t, func(t *rapid.T) {
		metadata, err := json.Marshal(rapid.MapOf(rapid.String(), rapid.SliceOf(rapid.String())).Draw(t, "metadata"))
		if err != nil {
			t.Fatal(err)
		}
		full := rapid.Ptr(rapid.String(), true).Draw(t, "full name")
		who = fsm.Identity{
			Principal: fsm.Principal{Username: fsm.Username(rapid.String().Draw(t, "username")), Realm: fsm.Realm{Name: "r", Type: "t"}},
			FullName:  full,
			Metadata:  metadata,
		}
		for _, name := range rapid.SliceOf(rapid.String()).Draw(t, "roles") {
			who.Roles = append(who.Roles, fsm.RoleName(name))
		}
		type answer struct {
			Username string
			Roles    []fsm.RoleName
			FullName *string `json:"full_name"`
			Metadata json.RawMessage
		}
		want := answer{Username: string(who.Username), Roles: append([]fsm.RoleName{}, who.Roles...), FullName: full, Metadata: metadata}
		for _, query := range []string{"", "?pretty"} {
			var got answer
			body := serve(h, &call{request: "GET /_security/_authenticate" + query}).Body.Bytes()
			if err := json.Unmarshal(body, &got); err != nil {
				t.Fatalf("%v in %s", err, body)
			}
			var compact bytes.Buffer
			if err := json.Compact(&compact, got.Metadata); err != nil {
				t.Fatal(err)
			}
			got.Metadata = compact.Bytes()
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%s (-want +got):\n%s", query, diff)
			}
		}
	})
}

func TestEscapes(t *testing.T) {
	who := elastic()
	who.Username = "\"\\/\b\f\n\r\t\x00\x1f\x7f<&>é\u2028\xff."
	w := world{authenticate: func(bool, token.Credentials) (token.Caller, error) {
		return token.Caller{Identity: who, Type: token.AuthenticationToken}, nil
	}}
	want := `"\"\\/\b\f\n\r\t\u0000\u001F` + "\x7f<&>é\u2028\ufffd.\""
	check(t, []call{{
		world: w, request: "GET /_security/_authenticate", status: 200,
		want: strings.Replace(elasticJSON+`"token"}`, `"elastic"`, want, 1),
	}})
}

// A client's own words come back, but not without end.
func TestEchoIsBounded(t *testing.T) {
	long := strings.Repeat("é", 5000)
	answer := serve(handlerOf(t, config(&world{})), &call{request: "POST " + tokenPath, body: `{"` + long + `":1}`})
	want := exception("x_content_parse_exception", "[1:2] [token_request] unknown field ["+strings.Repeat("é", 128)+"...]", "400")
	if diff := cmp.Diff(want, answer.Body.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// broken is a body that ends with an error.
type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

func TestBodyThatDoesNotArrive(t *testing.T) {
	for err, want := range map[error]string{
		os.ErrDeadlineExceeded:   exception("status_exception", "the request body did not arrive in time", "408"),
		io.ErrUnexpectedEOF:      exception("status_exception", "the request body could not be read", "400"),
		errors.New("connection"): exception("status_exception", "the request body could not be read", "400"),
	} {
		r := httptest.NewRequest("POST", tokenPath, io.MultiReader(strings.NewReader(`{"token":`), broken{err}))
		r.Header.Set("Authorization", basic)
		answer := httptest.NewRecorder()
		handlerOf(t, config(&world{})).ServeHTTP(answer, r)
		if diff := cmp.Diff(want, answer.Body.String()); diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
}

// newborn is a node before its cluster is formed.
type newborn struct{ *world }

func (newborn) About() httpapi.About { return httpapi.About{NodeName: "n", ClusterName: "c"} }

func TestRootBeforeTheClusterIsFormed(t *testing.T) {
	c := config(&world{})
	c.Cluster, c.Version = newborn{&world{}}, ""
	body := serve(handlerOf(t, c), &call{request: "GET /?pretty=false"}).Body.String()
	if !strings.Contains(body, `"cluster_uuid":"_na_"`) || !strings.Contains(body, `"build_hash":"unknown"`) {
		t.Errorf("body %s", body)
	}
}
