//go:build race

package store_test

const raceCost = 10
