package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"jeton/node/config"
)

func TestParseDevSettings(t *testing.T) {
	const users = "xpack.security.authc.realms.file.files.users"
	for _, test := range []struct {
		name, content string
		want          devSettings
		problem       string
	}{
		{"empty", "", devSettings{}, ""},
		{
			"nested and dotted mean the same",
			"log: {level: debug}\nrequest.timeout: 5s\nraft:\n  log_cache: 100\n",
			devSettings{"log.level": "debug", "request.timeout": "5s", "raft.log_cache": 100},
			"",
		},
		{"relative paths start at the file", users + ": ../users\n", devSettings{users: "/etc/users"}, ""},
		{"absolute paths stay", users + ": /srv/users\n", devSettings{users: "/srv/users"}, ""},
		{"nothing but comments", "# later\n", devSettings{}, ""},
		{"twice", "log.level: debug\nlog: {level: info}\n", nil, "s.yml:2: log.level is given twice"},
		{"not a mapping", "- a\n", nil, "s.yml:1: is not a list of settings"},
		{"not YAML", "a: [\n", nil, "s.yml: yaml: line 1"},
		{"a password that looks like an alias", "bootstrap.password: *secret\n", nil, "s.yml: yaml: an alias (*name) without its anchor"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseDevSettings([]byte(test.content), "s.yml", "/etc/jeton")
			checkProblem(t, err, test.problem)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDevRefusesAllSettingsOfItsOwnAtOnce(t *testing.T) {
	_, err := parseDevSettings([]byte("node.name: x\npath: {data: d, logs: l}\nxpack.security.http.ssl.enabled: false\nlog.level: info\n"), "s.yml", "/")
	for _, name := range []string{"s.yml:1: node.name", "s.yml:2: path.data", "s.yml:2: path.logs", "s.yml:3: xpack.security.http.ssl.enabled"} {
		checkProblem(t, err, name+" is set by jeton dev itself")
	}
	if strings.Contains(err.Error(), "log.level") {
		t.Errorf("refused too much: %v", err)
	}
}

// Whatever dev gives to a node must be a setting that a user cannot give too,
// or else one that a user may overrule.
func TestNodeConfigIsWhatDevOwnsAndWhatWasGiven(t *testing.T) {
	dir := devDir(t.TempDir())
	state := &devState{ClusterName: "mine", Password: "generous-sesame", Nodes: []devNode{{"node-1", 9200, 9300}, {"node-2", 9201, 9301}}}
	given := devSettings{settingClusterName: "mine", settingPassword: "generous-sesame", "log.level": "debug"}
	checkProblem(t, makeDevCertificates(dir.certs(), state), "")
	checkProblem(t, writeFileAtomic(dir.password(), []byte(state.Password)), "")
	settings := nodeSettings(dir, state, state.Nodes[1], given)
	for name := range settings {
		if _, ok := given[name]; !ok && name != "shutdown.delay" && !ownedByDev(name) {
			t.Errorf("%s is given by dev but not owned by it", name)
		}
	}
	path := dir.nodeConfig("node-2")
	checkProblem(t, writeNodeConfig(path, settings), "")
	loaded, err := config.Load(path, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := []string{
		loaded.ClusterName, loaded.NodeName, loaded.DataPath, loaded.HTTP.PublishAddress(), loaded.Transport.PublishAddress(),
		loaded.Log.Level, loaded.BootstrapPassword.Expose(), strings.Join(loaded.Discovery.SeedHosts, ","),
		strings.Join(loaded.Discovery.InitialMasterNodes, ","), loaded.Shutdown.Delay.String(),
	}
	want := []string{
		"mine", "node-2", dir.nodeData("node-2"), "127.0.0.1:9201", "127.0.0.1:9301",
		"debug", "generous-sesame", "127.0.0.1:9300,127.0.0.1:9301", "node-1,node-2", "0s",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	content, err := os.ReadFile(path)
	if err != nil || bytes.Contains(content, []byte(state.Password)) {
		t.Errorf("the password is in the configuration file, or: %v", err)
	}
}

func TestDecideState(t *testing.T) {
	was := func() *devState {
		return &devState{ClusterName: "old", Password: "old-password", Formed: true, Nodes: []devNode{{"node-1", 1200, 1300}, {"node-2", 1201, 1301}}}
	}
	with := func(change func(*devState)) *devState {
		state := was()
		change(state)
		return state
	}
	fresh := func(cluster, password string) *devState {
		return &devState{ClusterName: cluster, Password: password, Nodes: []devNode{{"node-1", 9200, 9300}}}
	}
	for _, test := range []struct {
		name     string
		existing *devState
		flags    map[string]string
		given    devSettings
		want     *devState
		problem  string
	}{
		{"new, password by flag", nil, map[string]string{"password": "p"}, nil, fresh("dev", "p"), ""},
		{"new, password by settings", nil, nil, devSettings{settingPassword: "p", settingClusterName: "c"}, fresh("c", "p"), ""},
		{"both, the same", nil, map[string]string{"password": "p"}, devSettings{settingPassword: "p"}, fresh("dev", "p"), ""},
		{"both, different", nil, map[string]string{"password": "p"}, devSettings{settingPassword: "q"}, nil, "differ"},
		{"password is a number", nil, nil, devSettings{settingPassword: 1}, nil, "must be text"},
		{"again", was(), nil, nil, was(), ""},
		{"again, on other ports", was(), map[string]string{"http-port": "2200"}, nil, with(func(s *devState) {
			s.Nodes[0].HTTPPort, s.Nodes[1].HTTPPort = 2200, 2201
		}), ""},
		{"again, password changed since", was(), map[string]string{"password": "new"}, nil, with(func(s *devState) { s.Password = "new" }), ""},
		{"again, another size", was(), map[string]string{"nodes": "3"}, nil, nil, "holds a cluster of 2 nodes"},
		{"again, the same size", was(), map[string]string{"nodes": "2"}, nil, was(), ""},
		{"again, another name", was(), nil, devSettings{settingClusterName: "new"}, nil, `holds the cluster "old"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := newDevCommand(nil)
			o := devOptions{nodes: 1, httpPort: 9200, transportPort: 9300, data: "d", changed: cmd.Flags().Changed, password: test.flags["password"]}
			for name, value := range test.flags {
				checkProblem(t, cmd.Flags().Set(name, value), "")
			}
			if _, ok := test.flags["http-port"]; ok {
				o.httpPort = 2200
			}
			if nodes := test.flags["nodes"]; nodes != "" {
				o.nodes = int(nodes[0] - '0')
			}
			got, err := o.decideState(test.existing, test.given)
			checkProblem(t, err, test.problem)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAStrangersFolderIsRefused(t *testing.T) {
	dir := devDir(t.TempDir())
	state, err := loadDevState(dir)
	if state != nil || err != nil {
		t.Errorf("an empty folder: %v, %v", state, err)
	}
	checkProblem(t, os.WriteFile(filepath.Join(string(dir), "thesis.tex"), nil, 0o600), "")
	_, err = loadDevState(dir)
	checkProblem(t, err, "holds thesis.tex but no dev cluster")
}

func TestDiscardLeavesWhatIsNotDevs(t *testing.T) {
	dir := devDir(filepath.Join(t.TempDir(), "c"))
	state := &devState{ClusterName: "dev", Nodes: []devNode{{"node-1", 1, 2}}}
	fill := func() {
		checkProblem(t, os.MkdirAll(dir.nodeData("node-1"), 0o700), "")
		checkProblem(t, state.save(dir), "")
		checkProblem(t, makeDevCertificates(dir.certs(), state), "")
	}
	fill()
	checkProblem(t, dir.discard(), "")
	if _, err := os.Stat(string(dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
	fill()
	checkProblem(t, os.WriteFile(dir.file("notes"), nil, 0o600), "")
	checkProblem(t, dir.discard(), "")
	entries, err := os.ReadDir(string(dir))
	if err != nil || len(entries) != 1 || entries[0].Name() != "notes" {
		t.Errorf("left: %v, %v", entries, err)
	}
}

func TestChildrenDoNotInheritJetonVariables(t *testing.T) {
	got := withoutJetonVariables([]string{"PATH=/bin", "JETON_PASSWORD=x", "JETON_HTTP_PORT=1", "MY_JETON_X=2"})
	if diff := cmp.Diff([]string{"PATH=/bin", "MY_JETON_X=2"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestTourIsValidShell(t *testing.T) {
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no shell")
	}
	for count := 1; count <= 4; count++ {
		r := devReady{dir: "/tmp/it's c", cacert: "/tmp/it's c/ca.crt", password: `o'clock "x" $y`}
		for i := range count {
			r.nodes = append(r.nodes, nodeEntry{Name: nodeName(i), URL: "https://127.0.0.1:1", PID: 1, Restart: "jeton dev restart " + nodeName(i)})
		}
		for _, command := range devCommands(r) {
			cmd := exec.Command(shell, "-n")
			cmd.Stdin = strings.NewReader(command.Run)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%d nodes, %s: %v\n%s\n%s", count, command.About, err, out, command.Run)
			}
		}
	}
}
