package httpapi_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"jeton/fsm"
	"jeton/httpapi"
	"jeton/node/realm"
	"jeton/node/token"
)

// fatal is a test, or one case of a property test.
type fatal interface {
	Fatalf(format string, args ...any)
}

// stack is everything from HTTP to the state machine, on one node.
type stack struct {
	t       fatal
	state   *fsm.FSM
	index   uint64
	tokens  *token.Service
	roles   *realm.Roles
	handler http.Handler
}

// files hold the user fay.
type files struct{ users, roles string }

func newFiles(t *testing.T, verifier string) files {
	t.Helper()
	folder := t.TempDir()
	f := files{users: filepath.Join(folder, "users"), roles: filepath.Join(folder, "users_roles")}
	for path, content := range map[string]string{f.users: "fay:" + verifier + "\n", f.roles: "r0:fay\nr1:fay\n"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func newStack(t fatal, f files, hasher *realm.Hasher) *stack {
	s := &stack{t: t, state: fsm.New(nil)}
	chain, err := realm.NewChain(realm.ChainConfig{View: s.state, Hasher: hasher, Now: time.Now, UsersFile: f.users, UsersRolesFile: f.roles})
	if err != nil {
		t.Fatalf("chain: %v", err)
	}
	s.tokens, err = token.New(token.Config{
		Log: s, View: s.state, Realms: chain, Confirm: func(context.Context) error { return nil }, Now: time.Now,
		Enabled: true, ClusterKey: make([]byte, token.MinClusterKeyBytes),
		AccessLifetime: time.Hour, RefreshLifetime: time.Hour, RefreshWindow: time.Minute,
	})
	if err != nil {
		t.Fatalf("stack: %v", err)
	}
	s.roles = realm.NewRoles(s, s.state)
	server, err := httpapi.New(httpapi.Config{
		Tokens: s.tokens, Authenticator: s.tokens, Users: realm.NewUsers(s, s.state, hasher), Roles: s.roles,
		Cluster: &world{}, TokensEnabled: true, Now: time.Now,
	})
	if err != nil {
		t.Fatalf("stack: %v", err)
	}
	s.handler = server.Handler()
	return s
}

// Propose implements the logs of token and realm.
func (s *stack) Propose(_ context.Context, c fsm.Command) (fsm.Outcome, error) {
	s.index++
	encoded := fsm.AppendCommand(nil, c)
	fsm.OperationID{1, byte(s.index), byte(s.index >> 8)}.Name(encoded)
	entry := fsm.AppendEntry(nil, fsm.UnixMilli(time.Now().UnixMilli()), [][]byte{encoded})
	outcomes, _ := s.state.Apply(&raft.Log{Index: s.index, Type: raft.LogCommand, Data: entry}).([]fsm.Outcome)
	return outcomes[0], nil
}

func (s *stack) apply(c fsm.Command) {
	if outcome, _ := s.Propose(context.Background(), c); outcome.Reason != fsm.Done {
		s.t.Fatalf("%T: %v", c, outcome.Reason)
	}
}

// caller authenticates a sender as the API does.
func (s *stack) caller(from sender) (token.Caller, error) {
	credentials := token.Credentials{Scheme: token.SchemeBasic, Username: string(from.username), Password: realm.NewSecret(commonPassword)}
	if from.token != nil {
		credentials = token.Credentials{Scheme: token.SchemeBearer, Bearer: from.token.access}
	}
	caller, err := s.tokens.AuthenticateForWrite(context.Background(), credentials)
	if err != nil || from.as == "" {
		return caller, err
	}
	return s.tokens.RunAs(caller, from.as)
}

// issue and refresh are the API's with a scope, for any sender.
func (s *stack) issue(from sender, r token.IssueRequest) (token.Pair, error) {
	caller, err := s.caller(from)
	if err != nil {
		return token.Pair{}, err
	}
	if _, err := s.roles.Authorize(caller.Identity, "cluster:admin/xpack/security/token/create"); err != nil {
		return token.Pair{}, err
	}
	return s.tokens.Issue(context.Background(), caller, r)
}

func (s *stack) refresh(from sender, r token.RefreshRequest) (token.Pair, error) {
	caller, err := s.caller(from)
	if err != nil {
		return token.Pair{}, err
	}
	return s.tokens.Refresh(context.Background(), caller, r)
}

// post has a sender obtain a token for itself by the API.
func (s *stack) post(from sender) (token.Pair, error) {
	answer := s.send(http.MethodPost, tokenPath, `{"grant_type":"client_credentials","scope":"all"}`, from)
	if answer.Code != http.StatusOK {
		return token.Pair{}, realm.ErrBadCredentials
	}
	var issued struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(answer.Body.Bytes(), &issued); err != nil {
		s.t.Fatalf("answer: %v", err)
	}
	return token.Pair{AccessToken: realm.NewSecret(issued.AccessToken)}, nil
}

func (s *stack) send(method, path, body string, from sender) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if from.token != nil {
		r.Header.Set("Authorization", "Bearer "+from.token.access.Expose())
	} else {
		r.SetBasicAuth(string(from.username), commonPassword)
	}
	if from.as != "" {
		r.Header.Set("Es-Security-Runas-User", string(from.as))
	}
	answer := httptest.NewRecorder()
	s.handler.ServeHTTP(answer, r)
	return answer
}

const commonPassword = "x-pack-test-password"

// newVerifier hashes the common password once for all cases.
func newVerifier(t *testing.T, hasher *realm.Hasher) string {
	t.Helper()
	var kept verifierKeeper
	password := realm.NewSecret(commonPassword)
	_, err := realm.NewUsers(&kept, fsm.New(nil), hasher).Put(t.Context(), fsm.Principal{}, fsm.Guard{}, realm.UserRequest{
		Username: "u", Password: &password, Roles: []fsm.RoleName{}, Enabled: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return kept.verifier
}

// verifierKeeper keeps the verifier of a user that is put.
type verifierKeeper struct{ verifier string }

func (k *verifierKeeper) Propose(_ context.Context, c fsm.Command) (fsm.Outcome, error) {
	if put, ok := c.(fsm.PutUser); ok {
		k.verifier = put.Verifier
	}
	return fsm.Outcome{}, nil
}
