package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// child is another process of this program that serves something to measure. It
// answers each line of JSON with a line of JSON and ends when its standard input
// does, so that none outlives its parent, however that ends.
type child struct {
	command *exec.Cmd
	stdin   io.WriteCloser
	answers *bufio.Scanner
}

func startChild(ctx context.Context, stderr io.Writer, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	command := exec.CommandContext(ctx, self, args...) //nolint:gosec // this program, with arguments made here
	command.Env = append(os.Environ(), childEnv+"=1")
	command.Stderr = stderr
	command.WaitDelay = 10 * time.Second
	stdin, err := command.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start child: %w", err)
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start child: %w", err)
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start child: %w", err)
	}
	return &child{command: command, stdin: stdin, answers: bufio.NewScanner(stdout)}, nil
}

// ask sends a question (nil: none, only wait) and reads the answer.
func (c *child) ask(question, answer any) error {
	if question != nil {
		if err := json.NewEncoder(c.stdin).Encode(question); err != nil {
			return fmt.Errorf("ask child: %w", err)
		}
	}
	if !c.answers.Scan() {
		return fmt.Errorf("child %v ended: %w", c.command.Args[1:], io.ErrUnexpectedEOF)
	}
	if err := json.Unmarshal(c.answers.Bytes(), answer); err != nil {
		return fmt.Errorf("child's answer: %w", err)
	}
	return nil
}

func (c *child) pid() int { return c.command.Process.Pid }

// close ends the child and waits for it.
func (c *child) close() {
	_ = c.stdin.Close()
	_ = c.command.Wait()
}

// serveParent answers the parent's questions until it is gone.
func serveParent[Q, A any](stdin io.Reader, stdout io.Writer, answer func(Q) (A, error)) error {
	questions := bufio.NewScanner(stdin)
	for questions.Scan() {
		var question Q
		if err := json.Unmarshal(questions.Bytes(), &question); err != nil {
			return fmt.Errorf("parent's question: %w", err)
		}
		a, err := answer(question)
		if err != nil {
			return err
		}
		if err := json.NewEncoder(stdout).Encode(a); err != nil {
			return fmt.Errorf("answer parent: %w", err)
		}
	}
	return nil
}
