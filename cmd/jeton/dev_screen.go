package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// devScreen tells a person, or with format json a program, what becomes of a
// dev cluster. Its methods may be called concurrently.
type devScreen struct {
	out, err io.Writer
	json     bool // one JSON object a line, all on out
	quiet    bool // only what goes wrong
	bold     func(string) string

	mu sync.Mutex
}

func newDevScreen(out, err io.Writer, format string, quiet bool, environ []string) *devScreen {
	s := &devScreen{out: out, err: err, json: format == formatJSON, quiet: quiet}
	s.bold = func(text string) string { return text }
	if isTerminal(out) && variableOf(environ, "NO_COLOR") == "" {
		s.bold = func(text string) string { return "\x1b[1m" + text + "\x1b[0m" }
	}
	return s
}

// isTerminal says whether a stream of this process is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// variableOf returns the value of an environment variable, "" if it is not set.
func variableOf(environ []string, name string) string {
	for _, variable := range environ {
		if value, ok := strings.CutPrefix(variable, name+"="); ok {
			return value
		}
	}
	return ""
}

// devEvent is one line of --format json.
type devEvent struct {
	Event    string       `json:"event"` // starting, ready, warning, node_ended, node_ready, node_alive, stopping, stopped
	Node     string       `json:"node,omitempty"`
	PID      int          `json:"pid,omitempty"`
	Message  string       `json:"message,omitempty"`
	Restart  string       `json:"restart,omitempty"` // a shell command: the node, or after stopped the cluster, starts again
	User     string       `json:"user,omitempty"`
	Password string       `json:"password,omitempty"`
	CACert   string       `json:"cacert,omitempty"`
	Data     string       `json:"data,omitempty"`
	Env      string       `json:"env,omitempty"`
	Config   string       `json:"config,omitempty"` // of the first node, for operator, snapshot and validate
	Nodes    []nodeEntry  `json:"nodes,omitempty"`
	Commands []devCommand `json:"commands,omitempty"`
}

// tell prints the event, unless quiet says that only what is important is printed:
// as JSON, or as text, to err if it is important. Nobody can be told that the
// terminal is gone.
func (s *devScreen) tell(event devEvent, important bool, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.quiet && !important:
	case s.json:
		_ = json.NewEncoder(s.out).Encode(event) //nolint:errchkjson,gosec // see above; telling the password is the job
	case important:
		_, _ = io.WriteString(s.err, text)
	default:
		_, _ = io.WriteString(s.out, text)
	}
}

func (s *devScreen) starting(nodes int, dir devDir) {
	s.tell(devEvent{Event: "starting", Data: string(dir)}, false,
		fmt.Sprintf("jeton dev: starting %s in %s\n", plural(nodes, "node"), dir))
}

func (s *devScreen) warn(message string) {
	s.tell(devEvent{Event: "warning", Message: message}, true, "jeton dev: warning: "+message+"\n")
}

func (s *devScreen) nodeEnded(entry nodeEntry, err error) {
	reason := exitText(err)
	s.tell(devEvent{Event: "node_ended", Node: entry.Name, PID: entry.PID, Message: reason, Restart: entry.Restart}, true,
		fmt.Sprintf("jeton dev: %s (process %d) ended: %s\n  its log: %s\n  start it again: %s\n",
			entry.Name, entry.PID, reason, entry.Log, entry.Restart))
}

func (s *devScreen) nodeStarted(name string, pid int, ready bool) {
	event := devEvent{Event: "node_ready", Node: name, PID: pid}
	if !ready {
		event.Event = "node_alive"
	}
	s.tell(event, false, "jeton dev: "+startedText(name, pid, ready)+"\n")
}

// startedText says what became of a restart.
func startedText(name string, pid int, ready bool) string {
	if ready {
		return fmt.Sprintf("%s is ready (process %d)", name, pid)
	}
	return fmt.Sprintf("%s runs (process %d); it will be ready when most of the nodes run", name, pid)
}

func (s *devScreen) stopping() {
	s.tell(devEvent{Event: "stopping"}, false, "jeton dev: ending the nodes; once more to kill them\n")
}

// stopped says how a cluster that was kept is started again.
func (s *devScreen) stopped(kept bool, again string) {
	event, text := devEvent{Event: "stopped"}, "jeton dev: ended, data discarded\n"
	if kept {
		event.Restart, text = again, fmt.Sprintf("jeton dev: ended; the cluster comes back with: %s\n", again)
	}
	s.tell(event, false, text)
}

// devReady is what the screen of a ready cluster is made of.
type devReady struct {
	took     time.Duration
	dir      devDir
	kept     bool // the data stays when dev ends
	cacert   string
	config   string // of the first node, for the commands that want one
	password string
	nodes    []nodeEntry
}

func (s *devScreen) ready(r devReady) {
	commands := devCommands(r)
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", s.bold(fmt.Sprintf("%s ready after %.1f s", plural(len(r.nodes), "node"), r.took.Seconds())))
	for _, node := range r.nodes {
		fmt.Fprintf(&b, "  %-10s%s   process %d\n", node.Name, node.URL, node.PID)
	}
	data := string(r.dir)
	if !r.kept {
		data += "   (discarded at the end; --data DIR keeps it)"
	}
	for _, line := range [][2]string{
		{"user", elasticUser},
		{"password", r.password},
		{"CA", r.cacert},
		{"data", data},
		{"config", r.config + "   the --config of jeton operator and jeton snapshot"},
		{"scripts", "set -a; " + shellCommand(".", r.dir.env()) + "; set +a   exports JETON_URLS, JETON_CACERT, ..."},
	} {
		fmt.Fprintf(&b, "  %-10s%s\n", line[0], line[1])
	}
	fmt.Fprintf(&b, "\n%s\n", s.bold("Paste into another terminal, in this order"))
	for _, command := range commands {
		fmt.Fprintf(&b, "\n  %s\n", s.bold(command.About))
		for line := range strings.Lines(command.Run) {
			b.WriteString("    " + line)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "\nctrl-C ends the cluster; from elsewhere: kill %d\n", os.Getpid())
	s.tell(devEvent{
		Event: "ready", User: elasticUser, Password: r.password, CACert: r.cacert, Data: string(r.dir),
		Env: r.dir.env(), Config: r.config, Nodes: r.nodes, Commands: commands,
	}, false, b.String())
}

// exitText says how a process ended; exec's own words, but for success.
func exitText(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
