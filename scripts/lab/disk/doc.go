// Package disk is a disk that loses power: a file system in memory, mounted
// through FUSE, that knows what was synced and what was not.
//
// What a program does is visible at once and volatile until it is synced, as on any
// disk. [Disk.PowerCut] takes the disk back to what may be left after a loss of power:
//
//   - Every 512-byte sector that was written or cut off since the last fsync of its
//     file (fdatasync is the same here) is kept or lost by itself, so writes are torn. The
//     file's size is the synced one, the newest, or something in between.
//   - The names that were made, renamed and removed in one directory since its last
//     fsync are kept up to some point and lost from there on. Directories do not
//     wait for each other. A rename is one step; one from directory to directory is
//     refused (EXDEV), as if they were two disks.
//   - As on ext4 and xfs, an fsync of a new file, or directory, also keeps its own
//     name, and those of the directories above it. After [Disk.Strict] it does not, and only
//     the fsync of a directory keeps names, which is all that POSIX promises.
//
// Chance comes from the seed, and is the same where the programs do the same.
//
// The kernel's caches do not survive a power cut: the file system is mounted anew, as
// another one. Programs may map files for reading, as bbolt does, lock them (flock),
// and write with O_DIRECT or without. Hard links, symbolic links and owners do not exist.
//
// A process must not map a file of a disk that it serves itself: a page fault cannot
// wait for a goroutine that the garbage collector has stopped. [Disk.Read] reads
// without the kernel.
package disk
