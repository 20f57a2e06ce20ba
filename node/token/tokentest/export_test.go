package tokentest

import "github.com/anishathalye/porcupine"

// Verdicts judges a family by all its operations, and by those that are essential.
func Verdicts(h *History, number int) (all, essentials porcupine.CheckResult, left int) {
	h.mu.Lock()
	part := h.partLocked(number)
	h.mu.Unlock()
	requests := h.config.requests(part)
	return porcupine.CheckOperationsTimeout(familyModel(), requests, checkTimeout), h.config.verdict(part), len(essential(requests))
}
