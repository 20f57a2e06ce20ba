package apitest_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"jeton/httpapi/apitest"
)

const description = "../../docs/openapi.yaml"

func TestTheDescriptionIsOpenAPI(t *testing.T) {
	if _, err := apitest.Load(description); err != nil {
		t.Fatal(err)
	}
}

// A description that is wrong is refused: the checks bite.
func TestLoadRefuses(t *testing.T) {
	content, err := os.ReadFile(description)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"a member that OpenAPI does not know": {"      summary: Who the caller is", "      resume: Who the caller is"},
		"a schema that is none":               {"type: {const: Bearer}", "type: {type: word}"},
		"a reference to nothing":              {"schemas/Authentication\"}", "schemas/Nothing\"}"},
		"an example that does not fit":        {"grant_type: client_credentials,", "grant_type: clients,"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "openapi.yaml")
			changed := strings.Replace(string(content), change[0], change[1], 1)
			if changed == string(content) {
				t.Fatalf("%q is not in the description", change[0])
			}
			if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := apitest.Load(file); err == nil {
				t.Error("loaded")
			}
		})
	}
}

func TestCheckAnswerRefuses(t *testing.T) {
	api, err := apitest.Load(description)
	if err != nil {
		t.Fatal(err)
	}
	operation, ok := api.Find(http.MethodDelete, "/_security/user/joe")
	if !ok {
		t.Fatal("not found")
	}
	header := func(lines ...string) http.Header {
		h := http.Header{"X-Elastic-Product": {"Elasticsearch"}, "Content-Type": {"application/json"}}
		for i := 0; i < len(lines); i += 2 {
			h.Set(lines[i], lines[i+1])
		}
		return h
	}
	const found = `{"found":true}`
	if err := operation.CheckAnswer(200, header(), []byte(found)); err != nil {
		t.Errorf("a good answer: %v", err)
	}
	for name, c := range map[string]struct {
		status int
		header http.Header
		body   string
	}{
		"another status":             {201, header(), found},
		"another member":             {200, header(), `{"found":true,"acknowledged":true}`},
		"a member less":              {200, header(), `{}`},
		"another type":               {200, header(), `{"found":"true"}`},
		"something after the object": {200, header(), found + "x"},
		"another product":            {200, header("X-Elastic-Product", "OpenSearch"), found},
		"no product":                 {200, http.Header{"Content-Type": {"application/json"}}, found},
		"another media type":         {200, header("Content-Type", "text/plain"), found},
		"no Retry-After":             {503, header(), `{"error":{"root_cause":[{"type":"x_exception","reason":""}],"type":"x_exception","reason":""},"status":503}`},
	} {
		if err := operation.CheckAnswer(c.status, c.header, []byte(c.body)); err == nil {
			t.Errorf("%s fits", name)
		}
	}
}
