/* SPDX-License-Identifier: MIT */
/*
 * A descriptor that can be made readable and unreadable (eventfd(2)).
 */
#ifndef SOON_OS_EVENT_H
#define SOON_OS_EVENT_H

/* Close-on-exec, not readable. The descriptor, or a negative errno. */
int soon__event_new(void);

void soon__event_set(int fd);
void soon__event_clear(int fd);
void soon__event_close(int fd);

#endif
