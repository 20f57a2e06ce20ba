// Package apitest is planted; only tests may know it.
package apitest

// API is something to use.
type API struct{}
