if [ "$1" -eq 0 ]; then
    if [ -d /run/systemd/system ]; then
        systemctl --system daemon-reload >/dev/null || :
    fi
    echo "mcsup: what is left in /etc/mcsup, /var/lib/mcsup and /var/log/mcsup is yours to remove"
fi
