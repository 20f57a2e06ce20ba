// Package network is the laboratory's network: hosts in network namespaces of their own, joined by a switch in this process.
//
// [Enter] puts the program into namespaces of its own, so that nothing on the machine is touched and all ends with the process.
// Every host has a TUN device, whose IP packets the switch reads, judges by the [Link] of their direction and writes to the
// device of the host they are for. What a link does wrong is therefore exactly what was asked for, per direction and from a
// seed, and needs no traffic control of the kernel's. TCP ends are real kernels' ends: what a link loses is retransmitted.
package network
