// Package build makes the binary that the laboratory tests: the product as it is, but
// with clocks that the laboratory sets, and, if asked, with one planted defect.
//
// Nothing of that is in the product's sources: they are built with an overlay (go build
// -overlay). A defect is a patch in the folder planted, with a sentence before it that
// says which shortcut it takes and what that breaks.
package build
