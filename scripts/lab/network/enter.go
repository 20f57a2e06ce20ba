package network

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrForbidden is part of an error when the machine does not let this user have a network of his own.
var ErrForbidden = errors.New("the laboratory needs root, or user namespaces for ordinary users, and access to " + tunDevice)

const (
	// marker is set in the inner process to the network namespace of the outer one.
	marker = "JETON_LAB_OUTER_NETWORK"

	tunDevice = "/dev/net/tun"
)

// Enter puts the program into network, mount and process namespaces of its own: call it first in main. The program is
// started once more inside; the outer process waits for it, hands on signals, and ends as it ended, so Enter returns nil in
// the inner process only, with the loopback device up and mounts private. Whatever the inner process started dies with it,
// and it with the outer one, however that ends. Who is not root becomes root of a user namespace. Where the machine allows
// neither, the error wraps [ErrForbidden]. In a process that the inner one started, Enter does nothing.
func Enter() error {
	here, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return fmt.Errorf("read the name of the network namespace: %w", err)
	}
	switch outer := os.Getenv(marker); {
	case outer == "":
		return reexecute(here)
	case outer == here:
		return fmt.Errorf("%s is set, yet this is the network of the machine itself: unset it", marker)
	case os.Getpid() != 1:
		return nil // started by the inner process
	}
	return settle()
}

// settle makes the fresh namespaces usable.
func settle() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("%w: make mounts private: %w", ErrForbidden, err)
	}
	// The old one shows the processes of the machine, under other numbers than they have here.
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("%w: mount /proc: %w", ErrForbidden, err)
	}
	return loopbackUp()
}

// reexecute runs the program inside and ends with it; it returns only when that could not begin.
func reexecute(here string) error {
	device, err := os.OpenFile(tunDevice, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrForbidden, err)
	}
	_ = device.Close()
	// The inner process dies with the thread that started it (Pdeathsig), so this thread may not end before the program.
	runtime.LockOSThread()
	inner, err := startInside(here)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("%w: start in namespaces of its own: %w", ErrForbidden, err)
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	go func() {
		for s := range signals {
			_ = inner.Process.Signal(s) // it may have ended just now
		}
	}()
	_ = inner.Wait() // what it came to is in ProcessState
	status, ok := inner.ProcessState.Sys().(syscall.WaitStatus)
	if code := inner.ProcessState.ExitCode(); code >= 0 || !ok {
		os.Exit(code)
	}
	os.Exit(128 + int(status.Signal()))
	return nil
}

// startInside starts the program in fresh namespaces: as root in the user namespace that it is in, else in one of its own.
func startInside(here string) (*exec.Cmd, error) {
	const fresh = unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID
	var errs []error
	if os.Geteuid() == 0 {
		inner, err := startWith(here, &syscall.SysProcAttr{Cloneflags: fresh})
		if err == nil {
			return inner, nil
		}
		errs = append(errs, err) // root of a container, perhaps: a user namespace may still be allowed
	}
	inner, err := startWith(here, &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | fresh,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	})
	if err != nil {
		return nil, errors.Join(append(errs, err)...)
	}
	return inner, nil
}

func startWith(here string, attributes *syscall.SysProcAttr) (*exec.Cmd, error) {
	attributes.Pdeathsig = unix.SIGKILL
	attributes.Setpgid = true // a signal to the whole group, as from a terminal, reaches it once: through the outer process
	inner := &exec.Cmd{
		Path: "/proc/self/exe", Args: os.Args, Env: append(os.Environ(), marker+"="+here),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		SysProcAttr: attributes,
	}
	if err := inner.Start(); err != nil {
		return nil, fmt.Errorf("start the inner process: %w", err)
	}
	return inner, nil
}
