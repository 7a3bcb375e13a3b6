# Chromium from Debian, and a font for it: it opens pages as a reader would, and takes pictures of them.

.PHONY: peer-chromium
peer-chromium:
	$(call debian,chromium,chromium,chromium fonts-dejavu-core)
