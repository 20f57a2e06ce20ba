package network

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// A keeper owns the one thread that visits the hosts' namespaces, on which nothing else ever runs.
type keeper struct {
	jobs chan func()
	done chan struct{} // closed: no more jobs
	home *os.File      // the namespace that the thread is in between two jobs
}

// newKeeper starts the thread. Its home is the namespace of the process.
func newKeeper() (*keeper, error) {
	home, err := openNamespace()
	if err != nil {
		return nil, err
	}
	return &keeper{jobs: make(chan func()), done: make(chan struct{}), home: home}, nil
}

// run does the jobs until the keeper is closed.
func (k *keeper) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for {
		select {
		case job := <-k.jobs:
			job()
		case <-k.done:
			return
		}
	}
}

// within runs visit on the thread, after it has entered by enter, and returns when the thread is home again.
func (k *keeper) within(enter, visit func() error) error {
	result := make(chan error, 1)
	job := func() {
		if err := enter(); err != nil {
			result <- err
			return
		}
		err := visit()
		if back := setns(k.home); back != nil {
			// Each visit enters first, and nobody but visits runs here: no later one is misled.
			err = errors.Join(err, fmt.Errorf("come back: %w", back))
		}
		result <- err
	}
	select {
	case k.jobs <- job:
		return <-result
	case <-k.done:
		return fmt.Errorf("visit a host: %w", net.ErrClosed)
	}
}

// own runs visit in the namespace of the process and returns a file that names it.
func (k *keeper) own(visit func() error) (*os.File, error) {
	return k.visited(func() error { return nil }, visit)
}

// fresh makes a network namespace, runs visit in it with loopback up, and returns a file that keeps it in being.
func (k *keeper) fresh(visit func() error) (*os.File, error) {
	unshare := func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("%w: make a network namespace: %w", ErrForbidden, err)
		}
		return nil
	}
	return k.visited(unshare, func() error {
		if err := loopbackUp(); err != nil {
			return err
		}
		return visit()
	})
}

// visited is within, and returns the namespace in which visit succeeded.
func (k *keeper) visited(enter, visit func() error) (namespace *os.File, err error) {
	err = k.within(enter, func() error {
		if namespace, err = openNamespace(); err != nil {
			return err
		}
		return visit()
	})
	if err != nil && namespace != nil {
		_ = namespace.Close()
	}
	return namespace, err
}

// openNamespace opens the network namespace that the calling thread is in.
func openNamespace() (*os.File, error) {
	file, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("open the network namespace: %w", err)
	}
	return file, nil
}

func setns(namespace *os.File) error {
	if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter a network namespace: %w", err)
	}
	return nil
}
