"""The benchmark's report: every method beside ProxyAno, the controls and the paper."""
